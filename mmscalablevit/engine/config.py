"""What the command-line options do to a config."""

from __future__ import annotations

import argparse
import difflib
import logging
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from torch import nn

from .distributed import LAUNCHERS
from .errors import UsageError
from .evaluation import type_name
from .hooks import bare_model

# The average reaches back over a tenth of the iterations so far (1 / gamma), at most over 5,000
# (1 / momentum). So it serves runs of any length, and the random initialization drops out.
EMA = {"ema_type": "MomentumAnnealingEMA", "momentum": 0.0002, "gamma": 10}


def near_names(path: Path, candidates: Iterable[Path]) -> str:
    """Say which files a mistyped path may have meant, by their file names."""
    by_name: dict[str, Path] = {}
    for candidate in candidates:
        by_name.setdefault(candidate.name, candidate)
    near = difflib.get_close_matches(path.name, by_name, n=3, cutoff=0.6)
    return "".join(f"\n  did you mean {by_name[name]}?" for name in near)


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config file and merge options into it.

    Raises:
        UsageError: The file is missing (near names are offered), or no config.
    """
    file = Path(path)
    if not file.is_file():
        nearby = file.parent.glob("*.py") if file.parent.is_dir() else []
        near = near_names(file, [*nearby, *sorted(Path("configs").rglob("*.py"))])
        raise UsageError(f"config {path} does not exist{near}")
    if file.suffix not in (".py", ".json", ".yaml", ".yml"):
        raise UsageError(f"config {path} is not a config: it must end in .py, .json or .yaml")
    cfg = Config.fromfile(path)
    if "model" not in cfg:
        raise UsageError(f"config {path} has no model; name a leaf config, not one of its bases")
    for key in options or {}:
        if key.split(".")[0] not in cfg:
            near_keys = difflib.get_close_matches(key.split(".")[0], list(cfg), n=1)
            hint = f"; did you mean {near_keys[0]}?" if near_keys else ""
            message = f"--cfg-options {key}: the config has no such entry, it is added{hint}"
            print_log(message, logger="current", level=logging.WARNING)
    if options:
        cfg.merge_from_dict(options)
    return cfg


def require_checkpoint(path: str) -> None:
    """Check that a checkpoint file exists; addresses such as ``https://...`` are let pass.

    Raises:
        UsageError: It does not; near names in its directory are offered.
    """
    file = Path(path).expanduser()
    if "://" in path or file.is_file():
        return
    siblings = sorted(file.parent.glob("*.pth")) if file.parent.is_dir() else []
    near = near_names(file, siblings)
    if not near and siblings:
        near = f"\n  there are: {', '.join(sibling.name for sibling in siblings[:5])}"
    raise UsageError(f"checkpoint {path} does not exist{near}")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
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


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None) -> None:
    """Choose the work directory: the option, the config's, or one named after the config."""
    cfg.work_dir = work_dir or cfg.get("work_dir") or f"work_dirs/{Path(config_path).stem}"


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


def compile_backbone(model: nn.Module) -> None:
    """Compile the backbone of a built model, in place.

    Only the backbone: the dense heads branch on the data (numbers of boxes, of positives), and
    each such place is a graph break or a recompilation. MMEngine's ``compile`` setting takes the
    whole training step and leaves the test alone. Compiling the module in place keeps the names
    in its state dict, and works under DDP, EMA and test-time augmentation alike.

    Each image size is compiled for itself, up to PyTorch's limit of eight; further sizes run
    uncompiled.

    Raises:
        UsageError: The model has no backbone.
    """
    backbone = getattr(bare_model(model), "backbone", None)
    if backbone is None:
        raise UsageError("--compile compiles the backbone, and this model has none")
    backbone.compile()
