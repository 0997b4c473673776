"""Write data sets of handwritten digits for all three tasks, without a download.

The images come with scikit-learn. The folders are laid out as ImageNet, COCO 2017 and ADE20K:

    OUT/classification/{train,val}/{0..9}/*.png
    OUT/detection/annotations/instances_{train,val}2017.json
    OUT/detection/{train,val}2017/*.png
    OUT/segmentation/images/{training,validation}/*.png
    OUT/segmentation/annotations/{training,validation}/*.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmscalablevit.datasets import TASKS, prepare_digits


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="decides every random choice")
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="default: all"
    )
    parser.add_argument("--size", type=int, default=128, help="side of a scene in pixels")
    parser.add_argument("--train-scenes", type=int, default=3000)
    parser.add_argument("--val-scenes", type=int, default=300)
    parser.add_argument(
        "--overlap", action="store_true", help="let digits cover each other (harder)"
    )
    args = parser.parse_args(argv)
    if not 0 <= args.seed < 2**32:
        parser.error("--seed must lie between 0 and 4294967295")
    if not 64 <= args.size <= 1024:
        parser.error("--size must lie between 64 and 1024")
    if min(args.train_scenes, args.val_scenes) < 1:
        parser.error("--train-scenes and --val-scenes must be at least 1")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data sets that the command line asks for."""
    args = parse_args(argv)
    try:
        prepare_digits(
            args.out,
            tasks=args.tasks,
            seed=args.seed,
            size=args.size,
            num_train=args.train_scenes,
            num_val=args.val_scenes,
            overlap=args.overlap,
        )
    except ModuleNotFoundError as error:
        package = "scikit-learn" if error.name == "sklearn" else error.name
        raise SystemExit(f"prepare_digits: {error}; pip install {package}") from None
    except OSError as error:
        raise SystemExit(f"prepare_digits: {error}") from None
    for task in args.tasks:
        print(f"{task}: {args.out / task}")


if __name__ == "__main__":
    main()
