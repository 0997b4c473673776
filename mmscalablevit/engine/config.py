"""What the command-line options do to a config."""

from __future__ import annotations

import argparse
import difflib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.backbones.base import PyramidBackbone
from mmscalablevit.checkpoints import CheckpointError, find_state_dict, load_file

from .distributed import LAUNCHERS
from .errors import FAILURES, UsageError, first_line, module_line
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


def build_backbone(backbone: ConfigDict) -> PyramidBackbone | None:
    """Build a backbone of this package without memory for its weights.

    Returns:
        The backbone; None if the config's is another package's.

    Raises:
        UsageError: An argument is wrong.
    """
    kind = MODELS.module_dict.get(type_name(backbone))
    if not isinstance(kind, type) or not issubclass(kind, PyramidBackbone):
        return None
    settings = {key: value for key, value in backbone.items() if key not in ("type", "_scope_")}
    try:
        with torch.device("meta"):
            return kind(**settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"model.backbone: {error}") from error


def check_backbone(cfg: Config, weights: bool = True) -> None:
    """Check a config's backbone, if it is of this package, before anything is built.

    Args:
        cfg: The config.
        weights: Check that the pretrained weights fill it, too.

    Raises:
        UsageError: Its settings are wrong, or its pretrained weights do not fit.
        CheckpointError: The file of the weights cannot be read.
    """
    backbone = build_backbone(cfg.model.get("backbone") or ConfigDict())
    if backbone is not None and weights:
        fill_backbone(backbone)


def fill_backbone(backbone: PyramidBackbone) -> list[str]:
    """Check that pretrained weights fill a backbone.

    Returns:
        Names of the entries that start anew.

    Raises:
        UsageError: The weights are missing or do not fit.
        CheckpointError: Their file cannot be read.
    """
    try:
        return backbone.check_pretrained_weights()
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"model.backbone.init_cfg: {error}") from error


def require_checkpoint(path: str) -> None:
    """Check that a checkpoint file exists; addresses such as ``https://...`` are let pass.

    Raises:
        UsageError: It does not; near names in its directory are offered.
    """
    file = Path(path).expanduser()
    if "://" in path or file.is_file():
        return
    if file.is_dir():
        names = ", ".join(sorted(inner.name for inner in file.glob("*.pth"))[:5])
        raise UsageError(f"checkpoint {path} is a directory; name a file: {names or 'it has none'}")
    siblings = sorted(file.parent.glob("*.pth")) if file.parent.is_dir() else []
    near = near_names(file, siblings)
    if not near and siblings:
        near = f"\n  there are: {', '.join(sibling.name for sibling in siblings[:5])}"
    raise UsageError(f"checkpoint {path} does not exist{near}")


def load_weights_file(path: str) -> None:
    """Check that a local checkpoint can be read and holds weights.

    Raises:
        UsageError: It does not exist.
        CheckpointError: It cannot be used.
    """
    require_checkpoint(path)
    if "://" not in path:
        find_state_dict(load_file(Path(path).expanduser()), path)


def fitting_entries(
    model: nn.Module, saved: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Compare a checkpoint's weights with a model.

    Args:
        model: The model.
        saved: The weights, possibly with the prefix that data parallelism adds.

    Returns:
        The model's entries without mere counters, and the names of those that the checkpoint
        fills.
    """
    saved = {name.removeprefix("module."): value for name, value in saved.items()}
    expected = {
        name: value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    fitting = [
        name
        for name, value in expected.items()
        if name in saved and saved[name].shape == value.shape
    ]
    return expected, fitting


def require_start(model: nn.Module, path: str) -> None:
    """Check that a checkpoint to start from is of this backbone; the heads may be others.

    Raises:
        CheckpointError: It is of another backbone, or cannot be used.
    """
    expected, fitting = fitting_entries(bare_model(model), find_state_dict(load_file(path), path))
    names = [name for name in expected if name.startswith("backbone.")]
    filled = sum(expected[name].numel() for name in names if name in set(fitting))
    if names and 2 * filled < sum(expected[name].numel() for name in names):
        raise CheckpointError(
            f"load_from {path} is of another backbone, or another size of it: it fills"
            f" {sum(name in set(fitting) for name in names)} of the backbone's {len(names)} entries"
        )


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


def compile_backbone(model: nn.Module, *, inference: bool = False) -> None:
    """Compile the backbone of a built model, in place.

    Only the backbone: the dense heads branch on the data (numbers of boxes, of positives), and
    each such place is a graph break or a recompilation. MMEngine's ``compile`` setting takes the
    whole training step and leaves the test alone. Compiling the module in place keeps the names
    in its state dict, and works under DDP, EMA and test-time augmentation alike.

    Each image size is compiled for itself, up to PyTorch's limit of eight; further sizes run
    uncompiled. Batches of another number are compiled for themselves too, but for inference on
    the CPU, where one compilation serves all from two images on.

    Args:
        model: The model, bare or wrapped for several processes.
        inference: The weights never change again in this process. On the CPU they then become
            constants of all that it compiles, packed once for its matrix products.

    Raises:
        UsageError: The model has no backbone.
    """
    backbone = getattr(bare_model(model), "backbone", None)
    if backbone is None:
        raise UsageError("--compile compiles the backbone, and this model has none")
    # Symbolic heights and widths make the traces of windows and borders explode.
    backbone.compile(dynamic=False)
    if inference and not any(weight.is_cuda for weight in backbone.parameters()):
        from torch._inductor import config  # here, since it takes seconds

        # As an option of `compile` it would come too late: tracing looks at the setting too.
        config.freezing = True
        _free_batch(backbone)


def _free_batch(backbone: nn.Module) -> None:
    """Let the number of images be any in what is compiled for them.

    Then, and only then, Inductor leaves linear layers in float32 to oneDNN, which adds the bias and
    applies GELU as it writes; for a fixed number it takes MKL's packed product and passes over the
    memory once more for each.
    """
    compiled: Any = backbone._compiled_call_impl

    def call(images: Tensor) -> Any:
        torch._dynamo.maybe_mark_dynamic(images, 0)
        return compiled(images)

    # A hook would be compiled itself, and another `forward` would stay with the weights of this
    # module when it is copied. PyTorch leaves this attribute out of copies, which are not compiled.
    backbone._compiled_call_impl = call
