"""Moved: mmscalablevit.hooks has what configs named here."""

import warnings

from mmscalablevit.hooks.drop_path import DropPathHook

__all__ = ["DropPathHook"]

warnings.warn(
    "mmscalablevit.engine.drop_path has moved: name mmscalablevit.hooks in custom_imports",
    FutureWarning,
    stacklevel=2,
)
