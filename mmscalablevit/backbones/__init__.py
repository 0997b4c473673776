"""The backbones. They need torch, mmengine and mmcv (mmcv-lite suffices)."""

from mmscalablevit.backbones.attention import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.backbones.lvt import LVT
from mmscalablevit.backbones.scalablevit import ScalableViT
from mmscalablevit.backbones.stvit import STViT

__all__ = ["IWSA", "LVT", "SSA", "SWSA", "WSA", "STViT", "ScalableViT", "WSAWithLEM"]
