"""Whether weights fill a model: checked before long work starts."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from torch import nn

from mmscalablevit.checkpoints import CheckpointError, find_state_dict, load_file
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
