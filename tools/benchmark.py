"""Time and memory of models, side by side.

    python tools/benchmark.py naive-s scalablevit-s scalablevit-s:compiled swin-t --batch 8
    python tools/benchmark.py CONFIG:naive CONFIG --training --batch 1 --size 512x640
    python tools/benchmark.py scalablevit-s:backbone naive-s:backbone --size 512 1024 2048
    python tools/benchmark.py scalablevit-s scalablevit-s_int8.xml --batch 1 8   # exported
    python tools/benchmark.py naive-s scalablevit-s --profile
    python tools/benchmark.py --table 6

The models take turns, and ratios are those of the same turn. What options say holds for all
models; what stands behind a model's colon, for it alone.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import mmengine
import torch

from mmscalablevit import files
from mmscalablevit.benchmark import measuring, report
from mmscalablevit.benchmark.workloads import NAMES, SYNTAX, Workload, parse_workload
from mmscalablevit.cli import tool
from mmscalablevit.cli.config import parse_size
from mmscalablevit.errors import UsageError

TABLE_6 = ["swin-t", "swin-s", "twins-svt-s", "scalablevit-s"]


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def not_negative(text: str) -> float:
    """A number from 0 on."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return number


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time and memory of models, side by side.",
        epilog=f"MODEL is {SYNTAX}. Models: {', '.join(NAMES)}; or a config's path, such as "
        "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py for one of the frameworks'.",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="what to measure, see below")
    parser.add_argument("--table", choices=["6"], help="the models and the batch of Table 6")
    parser.add_argument("--baseline", metavar="MODEL", help="one of the models; the first one")
    parser.add_argument(
        "--batch", nargs="+", type=positive, help="images in a batch, 8 (64 for the table)"
    )
    parser.add_argument("--size", nargs="+", default=["224"], metavar="HxW", help="image sizes")
    parser.add_argument("--training", action="store_true", help="training steps, not inference")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="compile the backbones")
    parser.add_argument("--device", help="cpu or cuda; a GPU if there is one")
    parser.add_argument("--threads", type=positive, help="of PyTorch on the CPU")
    parser.add_argument("--rounds", type=positive, default=7, help="turns of each model")
    parser.add_argument("--seconds", type=not_negative, default=1.0, help="least time of a turn")
    parser.add_argument("--profile", action="store_true", help="then show the operators' times")
    parser.add_argument(
        "--patience",
        type=not_negative,
        default=math.inf,
        metavar="SECONDS",
        help="leave out models that fail or are not ready by then, instead of stopping",
    )
    parser.add_argument("--out", type=Path, metavar="JSON", help="file for all that was measured")
    return parser.parse_args()


def choose_device(name: str | None) -> str:
    """Take the device that was asked for, or the best one."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: no such device; say cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: only cpu and cuda can be measured")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"--device {name}: PyTorch finds no usable GPU; python -m mmscalablevit says more"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are {torch.cuda.device_count()} GPUs")
    return name


def choose_workloads(args: argparse.Namespace) -> tuple[list[Workload], str]:
    """All workloads and the baseline."""
    models = args.models + (TABLE_6 if args.table else [])
    if not models:
        raise UsageError(f"nothing to measure: name models ({', '.join(NAMES)}) or --table 6")
    duplicates = sorted({model for model in models if models.count(model) > 1})
    if duplicates:
        raise UsageError(f"named twice: {', '.join(duplicates)}")
    baseline = args.baseline or models[0]
    if baseline not in models:
        raise UsageError(f"--baseline {baseline} is none of {', '.join(models)}")
    default = Workload(
        text="", model="", dtype=args.dtype, compiled=args.compile, training=args.training
    )
    workloads = [
        parse_workload(model, replace(default, size=parse_size(size), batch=batch))
        for size in args.size
        for batch in args.batch or [64 if args.table else 8]
        for model in models
    ]
    return list(dict.fromkeys(workloads)), baseline  # one that has its own size stands there twice


def say(message: str) -> None:
    """Show progress; the results alone go to the standard output."""
    print(message, file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> None:
    """Measure and report."""
    device = choose_device(args.device)
    workloads, baseline = choose_workloads(args)
    if args.out is not None:
        files.ensure_writable(args.out.parent)
    machine = measuring.describe_machine(device, args.threads)
    if machine["load_before"] > 0.5:
        say(f"warning: other processes are busy here (load {machine['load_before']:.1f})")
    if args.table and device == "cpu" and args.batch is None:
        say("64 images of 224x224 take a CPU long; --batch 8 is quicker")
    measurements = measuring.measure(
        workloads,
        device,
        rounds=args.rounds,
        min_seconds=args.seconds,
        threads=args.threads,
        profiled=args.profile,
        patience=args.patience,
        report=say,
    )
    entries = report.summarize(measurements, baseline)
    matmuls = {name: work for name, work in measurements.items() if isinstance(name, str)}
    published = {}
    if args.table:
        table = mmengine.load(files.find_configs() / "published.yml")["tables"]["6"]
        published = {row["name"].lower(): row["published"]["throughput"] for row in table["rows"]}
    parts = [
        report.machine_lines(machine, matmuls),
        report.speed_table(entries, baseline, published),
        f"print: {table['source']}, {table['title']}" if args.table else "",
        report.growth_table(entries),
        report.profile_table(entries) if args.profile else "",
    ]
    print("\n\n".join(filter(None, parts)))
    if args.out is not None:
        content = {
            "command": sys.argv,
            "machine": {**machine, "load_after": os.getloadavg()[0]},
            "rounds": args.rounds,
            "matmul_flops_per_second": {
                dtype: 2 * matmul.macs_per_second for dtype, matmul in matmuls.items()
            },
            "workloads": entries,
        }
        files.write_json(args.out, content)
        say(f"written to {args.out}")


if __name__ == "__main__":
    sys.exit(tool.run(run, parse_args()))
