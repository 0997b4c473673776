"""Look a training over before it waits in a queue: ``python tools/preflight.py CONFIG``.

Examines environment, data, weights, learning rate and disk, and takes a training and a validation
step. Writes nothing. The exit code is 1 if something has to be mended, else 0.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import warnings
from collections import Counter

from mmengine.config import DictAction
from mmengine.logging import MMLogger

from mmscalablevit.cli import tool
from mmscalablevit.preflight import examination as preflight


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Look a training over before it starts.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="checkpoint to test or to start from"
    )
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that it will train on, in all")
    parser.add_argument(
        "--images", type=int, default=32, help="images of each data set to read, by default 32"
    )
    parser.add_argument("--work-dir", metavar="DIR", help="where it will write")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    if min(args.gpus, args.images) < 1:
        parser.error("--gpus and --images must be at least 1")
    return args


def examine(args: argparse.Namespace) -> int:
    """Print the table; return the exit code."""
    MMLogger.get_instance("preflight", log_level="ERROR")
    options = preflight.Options(
        args.config, args.checkpoint, args.gpus, args.images, args.work_dir, args.cfg_options or {}
    )
    table, counts = sys.stdout, Counter[str]()
    # What the frameworks print and warn of stays out of the table.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for finding in preflight.examine(options):
            counts[finding.status] += 1
            print(preflight.render(finding), file=table, flush=True)
    failed, warned = counts["fail"], counts["warn"]
    print(f"\n{failed} to mend, {warned} to look at" if failed or warned else "\nReady to train.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(tool.run(examine, parse_args()))
