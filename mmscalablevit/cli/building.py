"""A config's model, built without a Runner."""

from __future__ import annotations

import copy

import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope


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
