"""Hooks that configs name."""

from mmscalablevit.hooks.data import CheckDataHook
from mmscalablevit.hooks.drop_path import DropPathHook
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from mmscalablevit.hooks.pictures import SavePicturesHook

__all__ = ["CheckDataHook", "DropPathHook", "MatchingCheckpointHook", "SavePicturesHook"]
