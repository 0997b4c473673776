"""Layers for graphs of any size, in the place of those that tie a graph to the traced one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AverageOfParts(nn.Module):
    """:class:`torch.nn.AdaptiveAvgPool2d`, which ONNX lacks for sizes that are not known.

    Means over parts of an axis are a product with a matrix of the shares.

    Args:
        parts: Parts along the height and the width.
    """

    def __init__(self, parts: tuple[int, int]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, *parts)."""
        rows, columns = (
            _shares(x, length, number)
            for length, number in zip(x.shape[2:], self.parts, strict=True)
        )
        return rows @ x @ columns.T


def _shares(x: Tensor, length: int, number: int) -> Tensor:
    """What each place along an axis adds to the means of its parts, (number, length).

    Part i reaches from floor(i * length / number) to before ceil((i + 1) * length / number).
    """
    places = torch.arange(length, device=x.device)
    part = torch.arange(number, device=x.device)[:, None]
    start = (part * length).div(number, rounding_mode="floor")
    end = ((part + 1) * length + number - 1).div(number, rounding_mode="floor")
    inside = ((places >= start) & (places < end)).to(x.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class WholeUpsample(nn.Module):
    """MMSegmentation's ``Upsample`` by a whole number, which turns sizes into Python's numbers.

    Args:
        factor: How many times as high and wide the result is.
        mode: As in :func:`torch.nn.functional.interpolate`.
        align_corners: Likewise.
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, factor * H, factor * W)."""
        size = (x.shape[2] * self.factor, x.shape[3] * self.factor)
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def _substitute(module: Any) -> nn.Module | None:
    if isinstance(module, nn.AdaptiveAvgPool2d):
        size: Any = module.output_size
        height, width = (size, size) if isinstance(size, int) else size
        if height is not None and width is not None and (height, width) != (1, 1):
            return AverageOfParts((height, width))
    elif type(module).__name__ == "Upsample" and not isinstance(module, nn.Upsample):
        factor = getattr(module, "scale_factor", None)
        if isinstance(factor, float) and factor.is_integer():
            return WholeUpsample(int(factor), module.mode, module.align_corners)
    return None


def substitute(model: nn.Module) -> None:
    """Put such layers in the place of a model's own, in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if other := _substitute(child):
                setattr(module, name, other)
