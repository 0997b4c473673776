"""Mixing the tokens of two images within a box of the grid that the last map forms.

CutMix on tokens, as in LVT's training (from `VOLO <https://arxiv.org/abs/2106.13112>`_): image i of
a batch of B takes a box of image B - 1 - i, so that an odd batch's middle image meets itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class TokenBox(NamedTuple):
    """A box of the grid, half open: rows ``top`` to ``bottom``, columns ``left`` to ``right``.

    Attributes:
        grid: Rows and columns of the grid.
    """

    top: int
    left: int
    bottom: int
    right: int
    grid: tuple[int, int]

    @property
    def kept(self) -> float:
        """Share of the grid that an image keeps, lambda of the class targets' mixture."""
        area = (self.bottom - self.top) * (self.right - self.left)
        return 1 - area / math.prod(self.grid)

    def mask(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """The box on a map.

        Args:
            size: Height and width of the map, whole multiples of the grid's.
            device: Where the mask is to be.

        Returns:
            True within the box, (H, W).
        """
        inside = torch.zeros(size, dtype=torch.bool)
        height, width = (length // cells for length, cells in zip(size, self.grid, strict=True))
        rows = slice(height * self.top, height * self.bottom)
        inside[rows, width * self.left : width * self.right] = True
        return inside.to(device)


def swap_images(inside: Tensor, maps: Tensor) -> Tensor:
    """Exchange a region between the images of a batch; to do it twice is to do nothing.

    Args:
        inside: The region, (H, W). It is a mask, not an index, since what is compiled for one box
            then serves all.
        maps: (B, H, W, C).

    Returns:
        The mixed maps, (B, H, W, C).
    """
    return torch.where(inside[..., None], maps.flip(0), maps)


def draw_box(grid: tuple[int, int]) -> TokenBox:
    """Draw the box of a step, from NumPy's global generator.

    Its area is uniformly distributed and its centre too, before the grid's border cuts it. Whole
    cells alone are taken, so that a side below 2 gives an empty box: nothing is mixed then.

    Args:
        grid: Rows and columns of the grid.

    Returns:
        The box.
    """
    side = math.sqrt(1 - np.random.beta(1, 1))
    halves = [int(cells * side) // 2 for cells in grid]
    centres = [np.random.randint(cells) for cells in grid]
    top, left = (max(c - half, 0) for c, half in zip(centres, halves, strict=True))
    bottom, right = (
        min(c + half, cells) for c, half, cells in zip(centres, halves, grid, strict=True)
    )
    return TokenBox(top, left, bottom, right, grid)
