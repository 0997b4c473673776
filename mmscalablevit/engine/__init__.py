"""Moved: mmscalablevit.hooks has what configs named here."""

import warnings

from mmscalablevit.cli.amp import BFloat16OptimWrapper
from mmscalablevit.evaluation.outputs import ClassificationResults
from mmscalablevit.hooks import MatchingCheckpointHook, SavePicturesHook

__all__ = [
    "BFloat16OptimWrapper",
    "ClassificationResults",
    "MatchingCheckpointHook",
    "SavePicturesHook",
]

warnings.warn(
    "mmscalablevit.engine has moved: name mmscalablevit.hooks in custom_imports",
    FutureWarning,
    stacklevel=2,
)
