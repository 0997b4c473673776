"""Whether weights fill a model: checked before long work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from mmscalablevit.checkpoints import Checkpoint, CheckpointError, find_state_dict, load_file
from mmscalablevit.checkpoints.entries import compare
from mmscalablevit.checkpoints.filling import Filling
from mmscalablevit.errors import UsageError, near_names
from mmscalablevit.evaluation.selection import type_name
from mmscalablevit.models.pyramid import PyramidBackbone
from mmscalablevit.models.wrappers import bare_model


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


def check_backbone(cfg: Config, weights: bool = True) -> list[Filling]:
    """Check a config's backbone, if it is of this package, before anything is built.

    Args:
        cfg: The config.
        weights: Check that the pretrained weights fill it, too.

    Returns:
        The pretrained weights; see :func:`hand_on`.

    Raises:
        UsageError: Its settings are wrong, or its pretrained weights do not fit.
        CheckpointError: The file of the weights cannot be read.
    """
    settings = cfg.model.get("backbone") or ConfigDict()
    if cfg.model.get("pretrained"):  # which MMSegmentation hands on
        settings = ConfigDict({**settings, "pretrained": cfg.model.pretrained})
    backbone = build_backbone(settings)
    return [] if backbone is None or not weights else read_pretrained(backbone)


def read_pretrained(backbone: PyramidBackbone) -> list[Filling]:
    """Read the pretrained weights of a backbone and check that they fill it.

    Raises:
        UsageError: The weights are missing or do not fit.
        CheckpointError: Their file cannot be read.
    """
    try:
        return backbone.read_pretrained()
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"model.backbone.init_cfg: {error}") from error


class _HandOnHook(Hook):
    """Give a backbone what it would read, just before it is initialized.

    Not earlier: hooks that average weights copy the model at this moment, and what it holds.
    """

    priority = "LOWEST"

    def __init__(self, fillings: list[Filling]) -> None:
        self._fillings: list[Filling] | None = fillings

    def before_run(self, runner: Runner) -> None:
        backbone: Any = bare_model(runner.model).get_submodule("backbone")
        backbone.fillings, self._fillings = self._fillings, None


def hand_on(runner: Runner, fillings: list[Filling]) -> None:
    """Let a training's backbone take weights that have been read, instead of reading them."""
    if fillings:
        runner.register_hook(_HandOnHook(fillings))


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


def read_weights(path: str) -> Checkpoint | None:
    """Read a checkpoint and check that it holds weights.

    Returns:
        The checkpoint; None of an address, which MMEngine fetches.

    Raises:
        UsageError: It does not exist.
        CheckpointError: It cannot be used.
    """
    require_checkpoint(path)
    if "://" in path:
        return None
    checkpoint = Checkpoint(path, load_file(path))
    find_state_dict(checkpoint.content, path)
    return checkpoint


Entries = dict[str, torch.Tensor]


def fitting_entries(model: nn.Module, checkpoint: Checkpoint) -> tuple[Entries, Entries, list[str]]:
    """Compare a model with a checkpoint.

    Returns:
        The model's entries without mere counters, the checkpoint's, and the names of those that
        fit.
    """
    expected = {
        name: value
        for name, value in bare_model(model).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    saved = checkpoint.weights(expected)
    missing, reshaped, _ = compare(expected, saved)
    unfit = {*missing, *reshaped}
    return expected, saved, [name for name in expected if name not in unfit]


def require_start(model: nn.Module, start: Checkpoint) -> None:
    """Check that a checkpoint to start from is of this backbone; the heads may be others.

    Raises:
        CheckpointError: It is of another backbone.
    """
    expected, _, names = fitting_entries(model, start)
    wanted = [name for name in expected if name.startswith("backbone.")]
    fitting = [name for name in names if name.startswith("backbone.")]
    filled = sum(expected[name].numel() for name in fitting)
    if 2 * filled < sum(expected[name].numel() for name in wanted):
        raise CheckpointError(
            f"load_from {start.path} is of another backbone, or another size of it: it fills"
            f" {len(fitting)} of the backbone's {len(wanted)} entries"
        )
