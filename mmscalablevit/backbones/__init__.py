"""The backbones. They need torch, mmengine and mmcv (mmcv-lite suffices)."""

from mmscalablevit.backbones.attention import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.backbones.scalablevit import ScalableViT

__all__ = ["IWSA", "SSA", "SWSA", "WSA", "ScalableViT", "WSAWithLEM"]
