"""Moved: mmscalablevit.models.heads has what configs named here."""

import warnings

from mmscalablevit.models.heads import ConvClsHead

__all__ = ["ConvClsHead"]

warnings.warn(
    "mmscalablevit.heads has moved: name mmscalablevit.models.heads in custom_imports",
    FutureWarning,
    stacklevel=2,
)
