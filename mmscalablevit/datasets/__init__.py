"""Data sets of real images that need no download."""

from mmscalablevit.datasets.digits import (
    CLASSES,
    DETECTION_METAINFO,
    SEGMENTATION_METAINFO,
    Glyphs,
    Scene,
    draw_scenes,
    load_glyphs,
    load_photos,
)
from mmscalablevit.datasets.digits_export import TASKS, prepare_digits

__all__ = [
    "CLASSES",
    "DETECTION_METAINFO",
    "SEGMENTATION_METAINFO",
    "TASKS",
    "Glyphs",
    "Scene",
    "draw_scenes",
    "load_glyphs",
    "load_photos",
    "prepare_digits",
]
