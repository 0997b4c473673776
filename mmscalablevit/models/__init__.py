"""The backbones. They need torch, mmengine and mmcv (mmcv-lite suffices)."""

from mmscalablevit.models.lvt import LVT
from mmscalablevit.models.scalablevit import IWSA, SSA, SWSA, WSA, ScalableViT, WSAWithLEM
from mmscalablevit.models.stvit import STViT

__all__ = ["IWSA", "LVT", "SSA", "SWSA", "WSA", "STViT", "ScalableViT", "WSAWithLEM"]
