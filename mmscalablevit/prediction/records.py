"""What is written of a prediction, for other programs to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmscalablevit.errors import UsageError
from mmscalablevit.hooks import pictures


def describe(
    sample: Any, meta: Mapping[str, Any], score_threshold: float, top_k: int
) -> dict[str, Any]:
    """Say what a data sample predicts, in JSON's types.

    Args:
        sample: The framework's data sample of an image.
        meta: `classes` of the data set.
        score_threshold: Objects with a lower score are left out.
        top_k: How many of the likeliest classes of a classified image are listed.

    Returns:
        ``label``, ``name``, ``score`` and ``top`` of a classified image; ``objects`` with their
        ``box`` (left, top, right, bottom in pixels), ``label``, ``name``, ``score`` and, where
        there are masks, ``mask`` in COCO's run-length code; ``classes`` of a label map with their
        ``share`` of the pixels.

    Raises:
        UsageError: It predicts something else.
    """
    if pictures.is_classified(sample):
        scores = sample.pred_score.cpu()
        top = [
            {**_class(meta, label), "score": scores[label].item()}
            for label in scores.argsort(descending=True)[:top_k].tolist()
        ]
        return {**top[0], "top": top}
    if "pred_panoptic_seg" in sample:
        return {"objects": _segments(sample.pred_panoptic_seg.sem_seg[0].cpu().numpy(), meta)}
    if "pred_instances" in sample:
        return {"objects": _objects(sample.pred_instances.cpu(), meta, score_threshold)}
    labels = pictures.label_map(sample, "pred")
    if labels is None:
        kinds = ", ".join(sample.keys())
        raise UsageError(f"this model predicts no labels, boxes or label maps, but {kinds}")
    shares = zip(*np.unique(labels, return_counts=True), strict=True)
    return {
        "classes": [
            {**_class(meta, int(label)), "share": int(count) / labels.size}
            for label, count in shares
        ]
    }


def _class(meta: Mapping[str, Any], label: int) -> dict[str, Any]:
    return {"label": label, "name": pictures.class_name(meta, label)}


def _objects(
    instances: InstanceData, meta: Mapping[str, Any], score_threshold: float
) -> list[dict[str, Any]]:
    """Describe boxes, the surest first, and their masks."""
    instances = instances[instances.scores >= score_threshold]
    instances = instances[instances.scores.argsort(descending=True)]
    objects = [
        {"box": box, **_class(meta, label), "score": score}
        for box, label, score in zip(
            instances.bboxes.tolist(),
            instances.labels.tolist(),
            instances.scores.tolist(),
            strict=True,
        )
    ]
    for found, mask in zip(objects, instances.get("masks", ()), strict=False):
        found["mask"] = _encode(mask.numpy())
    return objects


def _segments(segments: np.ndarray, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe the segments (H, W) of a panoptic prediction, but what belongs to none."""
    objects = []
    for number in np.unique(segments).tolist():
        label = number % 1000  # MMDetection adds 1000 times the number of the segment
        if label < len(meta.get("classes") or ()):
            mask = _encode(segments == number)
            left, top, width, height = coco_mask.toBbox(mask).tolist()
            box = [left, top, left + width, top + height]
            objects.append({"box": box, **_class(meta, label), "mask": mask})
    return objects


def _encode(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO does."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}
