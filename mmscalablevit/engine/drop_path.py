"""Moved: mmscalablevit.hooks has what configs named here; the folder's import says so."""

from mmscalablevit.hooks.drop_path import DropPathHook

__all__ = ["DropPathHook"]
