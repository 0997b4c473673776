"""Convert a released checkpoint so that this package's configs load it.

    python tools/convert_checkpoint.py RELEASED.pth checkpoints/scalablevit-s_in1k.pth

The result serves classification configs as it is, and detection and segmentation configs through
``init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.')``.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import torch

from mmscalablevit import __version__
from mmscalablevit.checkpoints.conversion import STATE_DICT_ENTRIES, convert
from mmscalablevit.checkpoints.reading import CheckpointError, load_file
from mmscalablevit.cli import tool
from mmscalablevit.errors import UsageError
from mmscalablevit.files import write_whole


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Convert a released checkpoint.")
    parser.add_argument("src", type=Path, help="checkpoint that the authors released")
    parser.add_argument("dst", type=Path, help="checkpoint to write")
    parser.add_argument(
        "--ema", action="store_true", help="take the moving average of the weights, not the weights"
    )
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")
    return parser.parse_args()


def convert_file(args: argparse.Namespace) -> None:
    """Convert a file.

    Raises:
        UsageError: It is not to be converted, or there is no place for the result.
    """
    if args.dst.exists() and not args.force:
        raise UsageError(
            f"{args.dst} exists already: name another file, or say --force to replace it"
        )
    try:
        released = load_file(args.src)
        converted = convert(released, args.ema)
    except (FileNotFoundError, CheckpointError, ValueError) as error:
        raise UsageError(f"cannot convert {args.src}: {error}") from error
    meta = {"mmscalablevit_version": __version__, "converted_from": args.src.name}
    content = io.BytesIO()
    torch.save({"meta": meta, "state_dict": converted.state_dict}, content)
    try:
        write_whole(args.dst, content.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {args.dst}: {error.strerror or error}") from error
    head = f"{converted.num_classes} classes" if converted.num_classes else "no head"
    print(f"{args.dst}: {converted.title}, {head}, {len(converted.state_dict)} entries")
    for plain, average in STATE_DICT_ENTRIES:
        if not args.ema and released.get(plain) is not None and released.get(average) is not None:
            print(f"{args.src} holds a moving average too, {average}: --ema takes it instead")


if __name__ == "__main__":
    sys.exit(tool.run(convert_file, parse_args()))
