"""COCO's panoptic annotations without panopticapi, which no package index carries."""

from __future__ import annotations

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations, LoadPanopticAnnotations
from mmdet.registry import TRANSFORMS


def read_segment_ids(color: np.ndarray) -> np.ndarray:
    """Ids of the segments (H, W) from the colours (H, W, 3), RGB, that COCO writes them as."""
    red, green, blue = np.moveaxis(color.astype(np.int32), -1, 0)
    return red + 256 * green + 256**2 * blue


@TRANSFORMS.register_module()
class LoadPanopticSegments(LoadPanopticAnnotations):
    """Load panoptic annotations: boxes, masks of things and the map of classes.

    Args:
        backend_args: Where the files are, as in MMEngine's file backends.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        # Not that of the class above, which imports panopticapi for one function.
        LoadAnnotations.__init__(
            self, with_bbox=True, with_mask=True, with_seg=True, backend_args=backend_args
        )
        self.rgb2id = read_segment_ids
