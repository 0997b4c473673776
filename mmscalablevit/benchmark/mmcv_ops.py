"""The compiled operators of mmcv that a detector's inference needs, by torchvision.

Wheels of the compiled mmcv are on no index. ``tools/benchmark_gpu.sh`` lays this file into the
mmcv-lite that it installs for itself, as ``mmcv/_ext.py``: MMDetection and MMSegmentation then
import, and any other operator that a model calls says that it is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision import ops  # type: ignore[import-untyped]


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that stay, the best first; with an offset of 1, borders are pixels."""
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return ops.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    *_argmax: Tensor,
    pool_mode: int,
    **settings: Any,
) -> None:
    """Mean of the features in RoIs (N, 5), which have their image's index before the box."""
    if pool_mode != 1:
        raise NotImplementedError("RoIAlign by torchvision takes the mean")
    size = (settings.pop("aligned_height"), settings.pop("aligned_width"))
    output.copy_(ops.roi_align(features, rois, size, **settings))


def __getattr__(name: str) -> Callable[..., Any]:
    def missing(*_args: Any, **_settings: Any) -> None:
        raise NotImplementedError(f"mmcv-lite has no operator {name}")

    return missing
