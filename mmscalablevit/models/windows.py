"""Maps of any size in windows: padding to whole windows, cutting into them, putting together again.

Pure functions on channels-last maps. They hold for symbolic heights and widths too, so that one
graph serves all sizes: nothing is asked of a size but whether it is known to divide.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

Size = Sequence[int]  # height and width; a slice of a tensor's shape is one


def is_known(condition: bool | torch.SymBool) -> bool:
    """Whether a condition on sizes is known to hold.

    Of symbolic sizes (``torch.export``, ``torch.compile(dynamic=True)``, ``torch.jit.trace``) that
    is not asked: the graph would be tied to those that answer alike.
    """
    return not torch.jit.is_tracing() and statically_known_true(condition)


def divides(divisor: int, x: Tensor) -> bool:
    """Whether both sides of a map (B, H, W, C) are known to be multiples of a number."""
    return all(is_known(length % divisor == 0) for length in x.shape[1:3])


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Pad a (B, H, W, C) map with zeros below and on the right, until both sides divide."""
    if divides(divisor, x):
        return x  # padding by nothing would copy the map
    bottom, right = (-(-length // divisor) * divisor - length for length in x.shape[1:3])
    return F.pad(x, (0, 0, 0, right, 0, bottom))


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut a map into windows, filled up with zeros where the border cuts them.

    Args:
        x: Map (B, H, W, C).
        window: Side M of a window.

    Returns:
        Tokens (B*n*m, M*M, C), with n = ceil(H / M) and m = ceil(W / M): windows in row-major
        order, the tokens of a window in column-major order.
    """
    strips = _strips(pad_to_multiple(x, window), window)
    return reshape(strips.transpose(1, 2), -1, window**2, x.shape[3])


def join_windows(windows: Tensor, window: int, size: Size, onto: Tensor | None = None) -> Tensor:
    """Undo :func:`split_windows`.

    Args:
        windows: Tokens (B*n*m, M*M, C).
        window: Side M of a window.
        size: Height and width (H, W) of the map.
        onto: Map (B, H, W, C) to add the windows to: one pass over the memory less than an
            addition afterwards.

    Returns:
        Map (B, H, W, C).
    """
    height, width = (-(-length // window) * window for length in size)
    channels = windows.shape[-1]
    strips = reshape(windows, -1, width, window, channels).transpose(1, 2)
    if onto is not None:
        strips = _strips(pad_to_multiple(onto, window), window) + strips
    return crop(reshape(strips, -1, height, width, channels), size)


def _strips(x: Tensor, window: int) -> Tensor:
    """View a map (B, n*M, m*M, C) as strips of the windows' height M, (B*n, M, m*M, C).

    Strips, whose windows have their tokens in column-major order, spare the graph of any size a
    dimension for n or m alone: PyTorch makes another graph of a dimension that is 1.
    """
    return reshape(x, -1, window, *x.shape[2:])


def reshape(x: Tensor, *shape: int) -> Tensor:
    """Reshape by way of one dimension, whose strides hold no question to a symbolic size."""
    return x.flatten().unflatten(0, shape)


def real_tokens(x: Tensor, window: int) -> Tensor | None:
    """Tell the tokens of a map's windows from the padding.

    Args:
        x: Map (B, H, W, C).
        window: Side M of a window.

    Returns:
        True for tokens of the map, (B*n*m, M*M), as by :func:`split_windows`; None where there is
        no padding.
    """
    if divides(window, x):
        return None
    return split_windows(x.new_ones(*x.shape[:3], 1, dtype=torch.bool), window).squeeze(-1)


def crop(x: Tensor, size: Size) -> Tensor:
    """Undo :func:`pad_to_multiple`: cut a map (B, H', W', C) to a size (H, W)."""
    bottom, right = size[0] - x.shape[1], size[1] - x.shape[2]
    if is_known(bottom == 0) and is_known(right == 0):
        return x
    # Padding by a negative amount cuts; slices would tie a graph to sizes that need them.
    return F.pad(x, (0, 0, 0, right, 0, bottom))
