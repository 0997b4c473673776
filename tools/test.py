"""Test a classifier, a detector or a segmentor: ``python tools/test.py CONFIG CHECKPOINT``.

The config's ``default_scope`` says which framework; MMEngine's Runner does the work.
"""

from __future__ import annotations

import argparse
import sys

from mmengine.dist import is_main_process

from mmscalablevit.cli import options, start, tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument(
        "checkpoint", metavar="FILE", help="checkpoint of that config, or a file of tools/export.py"
    )
    parser.add_argument(
        "--eval",
        nargs="+",
        metavar="METRIC",
        help="compute just these: accuracy, bbox, segm, proposal, PQ, mIoU, mDice, mFscore; "
        "without it what the config lists",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the results: a .json file (classification; detection in COCO's format), "
        "a directory of label images (segmentation), or a .pkl file (all tasks)",
    )
    parser.add_argument(
        "--show-dir", metavar="DIR", help="save pictures of the predictions beside the truth"
    )
    parser.add_argument(
        "--tta", "--aug-test", action="store_true", help="average over augmented copies"
    )
    options.add_common_arguments(parser)
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    """Test, and print the metrics and what was written."""
    metrics, written = start.test(args)
    if is_main_process():
        for place in written:
            print(f"written: {place}")
        print("  ".join(f"{name}: {value:g}" for name, value in metrics.items()))


if __name__ == "__main__":
    sys.exit(tool.run(test, parse_args()))
