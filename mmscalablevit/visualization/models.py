"""The maps that a model's backbone computes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle


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
