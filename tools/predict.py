"""Predict images of your own: ``python tools/predict.py CONFIG CHECKPOINT INPUT ... --out FOLDER``.

An INPUT is an image, a folder of images or a pattern such as 'photos/*.jpg'; no data set is read.
FOLDER gets predictions/NAME.json and pictures/NAME.png of each image, and labels/NAME.png of a
segmentor: the number of its class for each pixel. Images that cannot be read are left out, and
named at the end. The exit code is then 1; it is 0 if all were predicted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.utils import ProgressBar

from mmscalablevit import files
from mmscalablevit.checks import weights
from mmscalablevit.cli import config, tool
from mmscalablevit.cli.start import explained_errors
from mmscalablevit.errors import UsageError, listed, listed_below
from mmscalablevit.prediction import images
from mmscalablevit.prediction.predicting import (
    KINDS,
    LABELS,
    PICTURES,
    Predictor,
    Settings,
    result_file,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="its checkpoint, or an exported file"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder or pattern")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder to write to"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.3,
        metavar="S",
        help="leave out boxes with a lower score, by default %(default)s",
    )
    parser.add_argument(
        "--top-k", type=int, default=5, help="classes of an image to list, by default %(default)s"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="by default %(default)s")
    parser.add_argument("--device", default=get_device(), help="by default %(default)s")
    parser.add_argument("--no-pictures", action="store_true", help="write what programs read alone")
    parser.add_argument("--overwrite", action="store_true", help="replace files in FOLDER")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    if min(args.top_k, args.batch_size) < 1 or not 0 <= args.score_threshold <= 1:
        parser.error("--top-k and --batch-size must be at least 1, --score-threshold in 0 to 1")
    return args


def predict(args: argparse.Namespace) -> int:
    """Predict the images; return the exit code.

    Raises:
        UsageError: The work cannot be done.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    weights.check_backbone(cfg, weights=False)
    own = [args.out / kind for kind in (PICTURES, LABELS)]
    names = images.name_predictions(images.find_images(args.inputs, own))
    prepare_folder(args, list(names.values()))
    settings = Settings(
        args.batch_size, args.score_threshold, args.top_k, pictures=not args.no_pictures
    )
    with explained_errors(args):
        predictor = Predictor(cfg, args.checkpoint, args.device, settings)
        bar, left_out = ProgressBar(len(names)), []
        for image, reason in predictor.run(names, args.out):
            bar.update()
            left_out += [f"{image}: {reason}"] if reason else []
    print(f"\n{args.out}: predictions of {len(names) - len(left_out)} images")
    if left_out:
        print(f"left out, {len(left_out)} of {len(names)}:{listed_below(left_out, len(left_out))}")
    return int(bool(left_out))


def prepare_folder(args: argparse.Namespace, names: list[str]) -> None:
    """Make the folder, and see that what is written there replaces nothing.

    Raises:
        UsageError: It cannot be written to, or has files of these names.
    """
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out} is a file: name a folder")
    places = [result_file(args.out, kind, name) for kind in KINDS for name in names]
    if not args.overwrite and (there := [place for place in places if place.exists()]):
        raise UsageError(
            f"there already: {listed(there, 3)}\n  name another folder, or add --overwrite"
        )
    files.ensure_writable(args.out)


if __name__ == "__main__":
    sys.exit(tool.run(predict, parse_args()))
