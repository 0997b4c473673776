"""What the command-line options of training and testing do to a config."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.logging import print_log

from mmscalablevit.checks import datasets
from mmscalablevit.cli import amp
from mmscalablevit.cli.distributed import LAUNCHERS
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import type_name

# The average reaches back over a tenth of the iterations so far (1 / gamma), at most over 5,000
# (1 / momentum). So it serves runs of any length, and the random initialization drops out.
EMA = {"ema_type": "MomentumAnnealingEMA", "momentum": 0.0002, "gamma": 10}

# What --log takes: the packages of MMEngine's recorders.
RECORDERS = {package: recorder for recorder, package in datasets.RECORDERS.items()}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    parser.add_argument("--work-dir", metavar="DIR", help="default: work_dirs/NAME_OF_CONFIG")
    parser.add_argument(
        "--amp",
        nargs="?",
        const="auto",
        choices=("auto", "bfloat16", "float16"),
        help="mixed precision; without a type float16 on a GPU and bfloat16 on the CPU",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the backbone with torch.compile, anew for each image size (up to eight); the "
        "first iterations take longer",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none")
    # Older launchers pass this; the rank is read from the environment.
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)


def apply_to_training(cfg: Config, args: argparse.Namespace) -> None:
    """Do to a config what the options of a training say, in place.

    Raises:
        UsageError: One does not fit the config or the machine.
    """
    if args.amp:
        amp.train_in_mixed_precision(cfg, args.amp)
    else:
        amp.fit_to_device(cfg)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    if args.ema:
        average_weights(cfg)
    if args.seed is not None or args.deterministic:
        randomness = cfg.setdefault("randomness", ConfigDict())
        randomness.seed = args.seed if args.seed is not None else randomness.get("seed")
        randomness.deterministic = args.deterministic


def add_recorders(cfg: Config, names: Collection[str]) -> None:
    """Let MMEngine record a training by other programs too; what the config names stays.

    Args:
        cfg: The config, changed in place.
        names: Keys of :data:`RECORDERS`.
    """
    if not names:
        return
    visualizer = cfg.setdefault("visualizer", ConfigDict(type="Visualizer"))
    # LocalVisBackend writes the figures that `tools/reproduce.py collect` reads.
    recorders = visualizer.setdefault("vis_backends", [ConfigDict(type="LocalVisBackend")])
    recorders = list(recorders or [])
    present = {type_name(recorder) for recorder in recorders}
    for name in dict.fromkeys(names):
        if RECORDERS[name] not in present:
            recorders.append(ConfigDict(type=RECORDERS[name]))
    for recorder in recorders:
        if type_name(recorder) == "MLflowVisBackend":
            # MMEngine's default is a folder of files, which MLflow refuses since version 3.
            store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
            recorder.setdefault("tracking_uri", store)
    visualizer.vis_backends = recorders


def scale_learning_rate(cfg: Config) -> None:
    """Let MMEngine scale the learning rate by the real batch size.

    Raises:
        UsageError: The config does not say for which batch size its learning rate is.
    """
    if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
        raise UsageError(
            "--auto-scale-lr: the config does not say which total batch size its learning rate is "
            "for; add auto_scale_lr = dict(base_batch_size=...)"
        )
    cfg.auto_scale_lr.enable = True


def average_weights(cfg: Config) -> None:
    """Keep an exponential moving average of the weights.

    The checkpoint's ``state_dict`` is the average, so a test needs no option.
    """
    hooks = list(cfg.get("custom_hooks") or [])
    if any("EMAHook" in type_name(hook) for hook in hooks):
        print_log("--ema: the config already averages the weights", logger="current")
        return
    # MMPretrain's hook of this name would keep the raw weights for its tests in some cases.
    cfg.custom_hooks = [*hooks, ConfigDict(type="mmengine.EMAHook", **EMA)]
