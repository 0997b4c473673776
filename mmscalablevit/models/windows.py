"""Splitting a map into windows and putting it together again.

Pure functions on channels-last maps. No padding and no mask is ever needed: a map that the
window does not divide is cut into whole windows and smaller windows of what remains, and each
of these attends among its own, real tokens only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]


class Segment(NamedTuple):
    """A run of equal windows along one axis.

    Attributes:
        start: First position.
        length: Number of positions, a multiple of ``window``.
        window: Length of each window.
    """

    start: int
    length: int
    window: int


def axis_segments(length: int, window: int, shift: int = 0) -> list[Segment]:
    """Cut one axis into runs of equal windows.

    Windows begin at ``shift``; what lies before it forms a window of its own, and so does the
    rest behind the last whole window. With ``shift = window // 2`` this is exactly the
    partition that Swin's cyclic shift and attention mask produce. As in Swin, an axis no longer
    than a window is one window and never shifted.

    Args:
        length: Positions along the axis.
        window: Length of a whole window.
        shift: Where the first whole window begins, ``0 <= shift < window``.

    Returns:
        One to three segments that cover the axis without a gap.
    """
    if length <= window:
        return [Segment(0, length, length)]
    whole = (length - shift) // window * window
    rest = length - shift - whole
    candidates = [
        Segment(0, shift, shift),
        Segment(shift, whole, window),
        Segment(shift + whole, rest, rest),
    ]
    return [segment for segment in candidates if segment.length > 0]


def window_partition(x: Tensor, window: Size) -> Tensor:
    """Fold windows into the batch axis.

    Args:
        x: Map of shape (B, H, W, C); H and W are multiples of the window's height and width.
        window: Height and width (h, w) of a window.

    Returns:
        Tokens of shape (B * H/h * W/w, h*w, C), windows in row-major order.
    """
    batch, height, width, channels = x.shape
    h, w = window
    x = x.reshape(batch, height // h, h, width // w, w, channels)
    return x.transpose(2, 3).reshape(-1, h * w, channels)


def window_merge(tokens: Tensor, window: Size, size: Size) -> Tensor:
    """Undo :func:`window_partition`.

    Args:
        tokens: Tokens of shape (B * H/h * W/w, h*w, C).
        window: Height and width (h, w) of a window.
        size: Height and width (H, W) of the map.

    Returns:
        Map of shape (B, H, W, C).
    """
    (h, w), (height, width) = window, size
    channels = tokens.shape[-1]
    x = tokens.reshape(-1, height // h, width // w, h, w, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


def split_windows(x: Tensor, window: int, shift: int = 0) -> list[tuple[Tensor, Size]]:
    """Cut a map of any size into windows, those of the same size together.

    Args:
        x: Map of shape (B, H, W, C).
        window: Side of a whole window.
        shift: Where the first whole window begins on both axes.

    Returns:
        Tokens (N, h*w, C) and the size (h, w) of their windows, for one to nine regions in
        row-major order: one where the window divides the map, four where it does not.
    """
    parts = []
    for top, height, h in axis_segments(x.shape[1], window, shift):
        for left, width, w in axis_segments(x.shape[2], window, shift):
            region = x[:, top : top + height, left : left + width]
            parts.append((window_partition(region, (h, w)), (h, w)))
    return parts


def join_windows(
    parts: Iterable[Tensor], size: Size, window: int, shift: int = 0, onto: Tensor | None = None
) -> Tensor:
    """Undo :func:`split_windows`.

    Args:
        parts: Tokens (N, h*w, C) of each region, in the order of :func:`split_windows`.
        size: Height and width (H, W) of the map.
        window: Side of a whole window.
        shift: Where the first whole window begins on both axes.
        onto: Map (B, H, W, C) to add the tokens to: one pass over the memory less than an
            addition afterwards.

    Returns:
        Map of shape (B, H, W, C).
    """
    remaining = iter(parts)
    rows = []
    for top, height, h in axis_segments(size[0], window, shift):
        columns = []
        for left, width, w in axis_segments(size[1], window, shift):
            tokens = next(remaining)
            if onto is None:
                columns.append(window_merge(tokens, (h, w), (height, width)))
                continue
            region = onto[:, top : top + height, left : left + width]
            grid = region.unflatten(2, (-1, w)).unflatten(1, (-1, h))
            tokens = tokens.reshape(-1, height // h, width // w, h, w, tokens.shape[-1])
            columns.append((grid + tokens.transpose(2, 3)).flatten(3, 4).flatten(1, 2))
        rows.append(columns[0] if len(columns) == 1 else torch.cat(columns, dim=2))
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def map_windows(
    x: Tensor, window: int, function: Callable[[Tensor, Size], Tensor], shift: int = 0
) -> Tensor:
    """Apply a function to all windows of a map of any size.

    Args:
        x: Map of shape (B, H, W, C).
        window: Side of a whole window.
        function: Takes tokens (N, h*w, C) and their window's size (h, w); returns (N, h*w, D).
        shift: Where the first whole window begins on both axes.

    Returns:
        Map of shape (B, H, W, D).
    """
    parts = [function(tokens, cut) for tokens, cut in split_windows(x, window, shift)]
    return join_windows(parts, (x.shape[1], x.shape[2]), window, shift)
