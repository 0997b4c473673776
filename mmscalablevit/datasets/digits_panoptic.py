"""Panoptic annotations of scenes of digits, in COCO's format."""

from __future__ import annotations

import numpy as np

from mmscalablevit.datasets.digits import CLASSES, Scene

BACKGROUND = len(CLASSES) + 1  # id of the only stuff category; digits have theirs from 1

PANOPTIC_CATEGORIES = [
    *({"id": k, "name": name, "isthing": 1} for k, name in enumerate(CLASSES, 1)),
    {"id": BACKGROUND, "name": "background", "isthing": 0},
]


def to_panoptic(scene: Scene, image_id: int, file_name: str) -> tuple[dict, np.ndarray]:
    """Describe all pixels of a scene as segments: each digit one, and the background.

    Args:
        scene: The scene.
        image_id: Its id.
        file_name: Its label image's file.

    Returns:
        The entry for `annotations`, and the label image (S, S, 3) in uint8: segment k + 1 is the
        k-th digit and segment 1 the background, written in red.
    """
    segments = []
    for number, category in enumerate([BACKGROUND, *(label + 1 for label in scene.labels)]):
        rows, columns = np.nonzero(scene.instances == number)
        left, top = int(columns.min()), int(rows.min())
        segments.append(
            {
                "id": number + 1,
                "category_id": category,
                "area": len(rows),
                "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
                "iscrowd": 0,
            }
        )
    color = np.zeros((*scene.instances.shape, 3), np.uint8)
    color[..., 0] = scene.instances + 1
    return {"image_id": image_id, "file_name": file_name, "segments_info": segments}, color
