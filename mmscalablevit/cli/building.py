"""A config's model, built and filled without a Runner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader

from mmscalablevit.checkpoints import find_state_dict
from mmscalablevit.cli.exported import read_exported
from mmscalablevit.export.files import put_in_place
from mmscalablevit.hooks.matching import MatchingCheckpointHook


def build_model(cfg: Config, *, pretrained: bool = True, initialize: bool = True) -> BaseModel:
    """Build a config's model as the Runner does, from seed 0, with plain batch norm.

    Args:
        cfg: The config, which is not changed.
        pretrained: Let the backbone start from the weights that its ``init_cfg`` names. Without
            them it is random: a checkpoint follows, or the values don't matter.
        initialize: Initialize the weights; on PyTorch's meta device there is nothing to.
    """
    settings = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor"):  # where MMPretrain's configs have it
        settings.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    if not pretrained and settings.get("backbone"):
        settings.backbone.init_cfg = None
    init_default_scope(cfg.get("default_scope", "mmengine"))
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(settings))
    if initialize:
        model.init_weights()
    return model


def load_model(
    cfg: Config, checkpoint: str | None, device: str | None = None
) -> tuple[Any, Mapping[str, Any]]:
    """Build a config's model in evaluation mode, with the checkpoint's weights or random ones.

    Args:
        cfg: The config.
        checkpoint: Path or address of the checkpoint, or an exported file, which runs on the CPU;
            None for random weights.
        device: Where the model is to run; by default on a GPU, if there is one.

    Returns:
        The model, and what the checkpoint says of the data set that it was trained on: its
        `classes` and their `palette`, or nothing.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is another model's.
    """
    MMLogger.get_instance("mmscalablevit", log_level="WARNING")
    exported = None if checkpoint is None else read_exported(checkpoint, cfg)
    model: Any = build_model(cfg, pretrained=False, initialize=exported is None).eval()
    if exported is not None:
        put_in_place(model, exported)
        return model.cpu(), exported.metadata["dataset_meta"]
    meta: Mapping[str, Any] = {}
    if checkpoint is not None:
        content = CheckpointLoader.load_checkpoint(checkpoint, "cpu", logger="silent")
        MatchingCheckpointHook().after_load_checkpoint(SimpleNamespace(model=model), content)
        model.load_state_dict(
            find_state_dict(content, checkpoint, model.state_dict()), strict=False
        )
        meta = content.get("meta", {}).get("dataset_meta") or {}
    return model.to(device or get_device()), meta
