"""What the command-line options do to a config."""

from __future__ import annotations

import argparse
import difflib
import logging
import re
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscalablevit.cli.distributed import LAUNCHERS
from mmscalablevit.errors import FAILURES, UsageError, first_line, module_line, near_names
from mmscalablevit.evaluation.selection import type_name

# The average reaches back over a tenth of the iterations so far (1 / gamma), at most over 5,000
# (1 / momentum). So it serves runs of any length, and the random initialization drops out.
EMA = {"ema_type": "MomentumAnnealingEMA", "momentum": 0.0002, "gamma": 10}


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
    try:
        cfg = Config.fromfile(path)
    except (*FAILURES, MemoryError) as error:  # the parser's, of a file that is no Python
        line = module_line(error)
        place = f"config {path}" if line is None else f"config {path}, line {line}"
        raise UsageError(f"{place} cannot be read: {first_line(error)}") from error
    if "model" not in cfg:
        raise UsageError(f"config {path} has no model; name a leaf config, not one of its bases")
    for key in options or {}:
        if key.split(".")[0] not in cfg:
            near_keys = difflib.get_close_matches(key.split(".")[0], list(cfg), n=1)
            hint = f"; did you mean {near_keys[0]}?" if near_keys else ""
            message = f"--cfg-options {key}: the config has no such entry, it is added{hint}"
            print_log(message, logger="current", level=logging.WARNING)
    if options:
        try:
            cfg.merge_from_dict(options)
        except (LookupError, TypeError, ValueError) as error:
            raise UsageError(f"--cfg-options: {first_line(error)}") from error
    return cfg


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``'224'`` or ``'512x640'``.

    Raises:
        UsageError: It is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or int(match[1]) < 1:
        raise UsageError(f"size {text!r}: a size is N or HEIGHTxWIDTH, such as 224 or 512x640")
    return int(match[1]), int(match[2] or match[1])


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
