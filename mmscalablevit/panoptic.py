"""Moved: mmscalablevit.evaluation.panoptic has what configs named here."""

import warnings

from mmscalablevit.datasets.panoptic import LoadPanopticSegments
from mmscalablevit.evaluation.panoptic import PanopticQuality

__all__ = ["LoadPanopticSegments", "PanopticQuality"]

warnings.warn(
    "mmscalablevit.panoptic has moved: name mmscalablevit.evaluation.panoptic in custom_imports",
    FutureWarning,
    stacklevel=2,
)
