"""The models whose predictions and maps are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader
from torch.utils.hooks import RemovableHandle

from mmscalablevit.checkpoints import find_state_dict
from mmscalablevit.cli.building import build_model
from mmscalablevit.hooks.matching import MatchingCheckpointHook


def load_model(cfg: Config, checkpoint: str | None) -> tuple[Any, Mapping[str, Any]]:
    """Build a config's model in evaluation mode, with the checkpoint's weights or random ones.

    Returns:
        The model, and what the checkpoint says of the data set that it was trained on: its
        `classes` and their `palette`, or nothing.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is another model's.
    """
    MMLogger.get_instance("visualize", log_level="WARNING")
    model: Any = build_model(cfg, pretrained=False).eval()
    meta: Mapping[str, Any] = {}
    if checkpoint is not None:
        content = CheckpointLoader.load_checkpoint(checkpoint, "cpu", logger="silent")
        MatchingCheckpointHook().after_load_checkpoint(SimpleNamespace(model=model), content)
        model.load_state_dict(
            find_state_dict(content, checkpoint, model.state_dict()), strict=False
        )
        meta = content.get("meta", {}).get("dataset_meta") or {}
    return model.to(get_device()), meta


def compute_maps(model: Any, image: np.ndarray, hooks: Sequence[RemovableHandle]) -> None:
    """Run a model's backbone on an image (H, W, 3) in BGR, for hooks that are then removed."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    try:
        with torch.no_grad():
            batch = model.data_preprocessor({"inputs": [pixels], "data_samples": None})
            model.backbone(batch["inputs"])
    finally:
        for hook in hooks:
            hook.remove()
