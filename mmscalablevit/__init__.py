"""ScalableViT, STViT and LVT for OpenMMLab 2.x: classification, detection and segmentation.

Importing the package registers its backbones with MMEngine, so that ``type='ScalableViT'`` and
``type='mmscalablevit.ScalableViT'`` build from the configs of mmpretrain, mmdet and mmseg.
"""

from mmscalablevit.environment import require_usable
from mmscalablevit.version import __version__

if require_usable():
    from mmscalablevit.files import find_config
    from mmscalablevit.hub.names import register_names
    from mmscalablevit.models import LVT, ScalableViT, STViT

    register_names()

__all__ = ["LVT", "STViT", "ScalableViT", "__version__", "find_config"]
