"""ScalableViT, STViT and LVT for OpenMMLab 2.x: classification, detection and segmentation.

Importing the package registers its backbones with MMEngine, so that ``type='ScalableViT'`` and
``type='mmscalablevit.ScalableViT'`` build from the configs of mmpretrain, mmdet and mmseg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmscalablevit.environment import require_usable
from mmscalablevit.version import __version__

if require_usable():
    from mmscalablevit.files import find_config
    from mmscalablevit.hub.names import register_names
    from mmscalablevit.models import LVT, ScalableViT, STViT

    register_names()

if TYPE_CHECKING:
    from mmscalablevit.hub.plain import Classifier, create_model, list_models

__all__ = [
    "LVT",
    "Classifier",
    "STViT",
    "ScalableViT",
    "__version__",
    "create_model",
    "find_config",
    "list_models",
]


def __getattr__(name: str) -> Any:
    """Import the plain models when they are asked for, since huggingface_hub comes with them."""
    if name in ("Classifier", "create_model", "list_models"):
        from mmscalablevit.hub import plain

        return getattr(plain, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
