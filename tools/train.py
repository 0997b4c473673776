"""Train a classifier, a detector or a segmentor: ``python tools/train.py CONFIG``.

The config's ``default_scope`` says which framework; MMEngine's Runner does the work.
"""

from __future__ import annotations

import argparse
import sys

from mmscalablevit.cli import options, start, tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="auto|PATH",
        help="go on from the newest good checkpoint in the work directory, or from PATH",
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate by the batch size"
    )
    parser.add_argument("--seed", type=int, help="of all random numbers")
    parser.add_argument("--deterministic", action="store_true", help="reproducible, but slower")
    parser.add_argument(
        "--ema", action="store_true", help="average the weights; tests use the average"
    )
    parser.add_argument(
        "--log",
        nargs="+",
        default=(),
        choices=options.RECORDERS,
        metavar="NAME",
        help=f"record losses and metrics also by: {', '.join(options.RECORDERS)}",
    )
    options.add_common_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(tool.run(start.train, parse_args()))
