"""The configs of the repository, each read and built once a process."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {
    path.stem: path
    for path in sorted((ROOT / "configs").glob("*/*/*.py"))
    if path.parent.name != "_base_"
}


@functools.cache
def load(name: str) -> Config:
    """The config of a name, to be looked at and not to be changed."""
    return Config.fromfile(LEAVES[name])


@functools.cache
def build(name: str) -> nn.Module:
    """The model of a config, with shapes and without values."""
    cfg = load(name)
    # MMPretrain's ResNet reads values of a tensor when it is built.
    device = torch.device("cpu" if name.startswith("resnet18") else "meta")
    with DefaultScope.overwrite_default_scope(cfg.default_scope), device:
        return MODELS.build({"data_preprocessor": None, **cfg.model})
