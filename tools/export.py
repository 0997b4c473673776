"""Export a model, to run without PyTorch: ``python tools/export.py CONFIG CHECKPOINT --to onnx``.

The file takes images of any size and number. docs/export.md says what is in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmscalablevit.cli import config, provenance, tool
from mmscalablevit.checks import weights
from mmscalablevit.errors import UsageError
from mmscalablevit.export import files
from mmscalablevit.export.formats import FORMATS
from mmscalablevit.visualization.models import load_model
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Export a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    parser.add_argument("--to", choices=FORMATS, default="onnx", help="the format; onnx if not said")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file; default: the checkpoint's name"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    return parser.parse_args()


def export(args: argparse.Namespace) -> None:
    """Export, and print how far the file is from the model."""
    suffix = FORMATS[args.to].suffix
    path = args.out or Path(args.checkpoint).with_suffix(suffix)
    if path.suffix != suffix:
        raise UsageError(f"--out {path}: the name of a file for --to {args.to} ends in {suffix}")
    files.require_packages(FORMATS[args.to])
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    model, meta = load_model(cfg, args.checkpoint)
    print(f"exporting {args.checkpoint} to {path}: this takes a minute or several")
    deviations = files.export(model.cpu(), path, provenance.config_content(cfg), meta)
    print_deviations(deviations)
    print(f"written: {path}")


def print_deviations(deviations: list[files.Deviation]) -> None:
    """Print a table: a row for each output, a column for each size of the images."""
    sizes = list(dict.fromkeys(each.size for each in deviations))
    width = max(len(each.name) for each in deviations)
    print("largest deviation from PyTorch, of the std, at sizes that were not traced:")
    print(" " * width, *("x".join(map(str, size)).rjust(10) for size in sizes))
    for name in dict.fromkeys(each.name for each in deviations):
        values = [each.value for each in deviations if each.name == name]
        print(name.ljust(width), *(f"{value:10.1e}" for value in values))


if __name__ == "__main__":
    sys.exit(tool.run(export, parse_args()))
