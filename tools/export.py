"""Export a model, to run without PyTorch: ``python tools/export.py CONFIG CHECKPOINT --to onnx``.

The file takes images of any size and number. docs/export.md says what is in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmscalablevit.checks import datasets, weights
from mmscalablevit.cli import config, provenance, tool
from mmscalablevit.cli.building import load_model
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import innermost_datasets
from mmscalablevit.export import files
from mmscalablevit.export.formats import FORMATS
from mmscalablevit.export.quantization import training_images


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Export a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    parser.add_argument(
        "--to", choices=FORMATS, default="onnx", help="the format; onnx if not said"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file; default: the checkpoint's name"
    )
    parser.add_argument(
        "--int8",
        nargs="?",
        type=int,
        const=128,
        metavar="N",
        help="compute in int8, calibrated with N training images (128); with --to openvino",
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    return parser.parse_args()


def export(args: argparse.Namespace) -> None:
    """Export, and print how far the file is from the model."""
    form = FORMATS[args.to]
    path = args.out or Path(args.checkpoint).with_suffix(form.suffix)
    if path.suffix != form.suffix:
        raise UsageError(f"--out {path}: a file for --to {args.to} ends in {form.suffix}")
    if args.int8 is not None and (args.to != "openvino" or args.int8 < 1):
        raise UsageError("--int8: goes with --to openvino, and takes a number of images above 0")
    if files.choose_format(args.checkpoint) is not None:
        raise UsageError(
            f"{args.checkpoint} is exported already; name the checkpoint it is made of"
        )
    files.require_packages(form, int8=args.int8 is not None)
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    if args.int8 is not None:
        config.require_entries(cfg, args.config, "train_dataloader", "test_dataloader")
        datasets.require_data(cfg, "train_dataloader")
    model, meta = load_model(cfg, args.checkpoint, "cpu")
    if not meta and cfg.get("test_dataloader"):
        meta = innermost_datasets(cfg.test_dataloader.dataset)[0].get("metainfo") or {}
    images = training_images(cfg, model, args.int8 + files.COMPARED) if args.int8 else []
    print(f"exporting {args.checkpoint} to {path}: this takes a minute or several", flush=True)
    deviations = files.export(model, path, provenance.config_content(cfg), meta, images)
    print_deviations(deviations, args.int8 is not None)
    print(f"written: {path}")


def print_deviations(deviations: list[files.Deviation], int8: bool) -> None:
    """Print a table: a row for each output, a column for each size of the images."""
    kind = "root mean square" if int8 else "largest"
    where = (
        "training images, and one of them at other sizes" if int8 else "sizes that were not traced"
    )
    sizes = list(dict.fromkeys(each.size for each in deviations))[:5]
    width = max(len(each.name) for each in deviations)
    print(f"{kind} deviation from PyTorch, of the std, at {where}:")
    print(" " * width, *("x".join(map(str, size)).rjust(10) for size in sizes))
    for name in dict.fromkeys(each.name for each in deviations):
        values = (
            max(each.value for each in deviations if (each.name, each.size) == (name, size))
            for size in sizes
        )
        print(name.ljust(width), *(f"{value:10.1e}" for value in values))


if __name__ == "__main__":
    sys.exit(tool.run(export, parse_args()))
