"""Moved: mmscalablevit.hooks has what configs named here."""

import warnings

from mmscalablevit.cli.amp import BFloat16OptimWrapper
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.outputs import ClassificationResults
from mmscalablevit.evaluation.selection import available_metrics, select_metrics
from mmscalablevit.hooks import MatchingCheckpointHook, SavePicturesHook

__all__ = [
    "BFloat16OptimWrapper",
    "ClassificationResults",
    "MatchingCheckpointHook",
    "SavePicturesHook",
    "UsageError",
    "available_metrics",
    "select_metrics",
]

warnings.warn(
    "mmscalablevit.engine has moved: name mmscalablevit.hooks in custom_imports",
    FutureWarning,
    stacklevel=2,
)
