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

Size = Sequence[int]  # lengths along a map's axes; a slice of a tensor's shape is one


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
    return _resize(x, [windows_along(length, divisor) * divisor for length in x.shape[1:3]])


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut a map into windows, filled up with zeros where the border cuts them.

    Args:
        x: Map (B, H, W, C).
        window: Side M of a window.

    Returns:
        Tokens (B*n*m, M*M, C), with n = ceil(H / M) and m = ceil(W / M): windows in row-major
        order, the tokens of a window in column-major order.
    """
    batch, height, width, channels = x.shape
    n, m = windows_along(height, window), windows_along(width, window)
    strips = _strips(pad_to_multiple(x, window), window)
    return _reshape(strips.transpose(1, 2), batch * n * m, window**2, channels)


def join_windows(windows: Tensor, window: int, size: Size, onto: Tensor | None = None) -> Tensor:
    """Undo :func:`split_windows`, for a map of a given size.

    Args:
        windows: Tokens (B*n*m, M*M, C).
        window: Side M of a window.
        size: Batch, height and width (B, H, W) of the map.
        onto: Map (B, H, W, C) to add the windows to: one pass over the memory less than an
            addition afterwards.

    Returns:
        Map (B, H, W, C).
    """
    batch, *sides = size
    n, m = (windows_along(side, window) for side in sides)
    channels = windows.shape[-1]
    strips = _reshape(windows, batch * n, m * window, window, channels).transpose(1, 2)
    if onto is not None:
        strips = _strips(pad_to_multiple(onto, window), window) + strips
    return crop(_reshape(strips, batch, n * window, m * window, channels), sides)


def windows_along(length: int, window: int) -> int:
    """Number of windows that cover a side."""
    return (length + window - 1) // window


def _strips(x: Tensor, window: int) -> Tensor:
    """View a map (B, n*M, m*M, C) as strips of the windows' height M, (B*n, M, m*M, C).

    Strips, whose windows have their tokens in column-major order, spare the graph of any size a
    dimension for n or m alone: PyTorch makes another graph of a dimension that is 1.
    """
    batch, height, width, channels = x.shape
    return _reshape(x, batch * (height // window), window, width, channels)


def _reshape(x: Tensor, *shape: int) -> Tensor:
    """Reshape by way of one dimension, whose strides hold no question to a symbolic size.

    No length is left to be inferred: a symbolic division of all others costs a compiler minutes.
    """
    return unflatten(x.flatten(), 0, shape)


def unflatten(x: Tensor, dim: int, sizes: Size) -> Tensor:
    """:meth:`torch.Tensor.unflatten`, of which PyTorch's old exporter to ONNX keeps no shape free.

    Args:
        x: The tensor.
        dim: Its dimension to unfold, not counted from the end.
        sizes: Lengths of what becomes of that dimension.
    """
    if torch.jit.is_tracing():
        before = () if dim == 0 else (-1, *x.shape[1:dim])  # the batch is any, too
        return x.reshape(*before, *sizes, *x.shape[dim + 1 :])
    return x.unflatten(dim, sizes)


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
    if all(is_known(a == b) for a, b in zip(x.shape[1:3], size, strict=True)):
        return x
    return _resize(x, size)


def _resize(x: Tensor, size: Size) -> Tensor:
    """Fill a map up with zeros below and on the right, or cut it, to a size (H, W)."""
    bottom, right = size[0] - x.shape[1], size[1] - x.shape[2]
    # Padding by a negative amount cuts; slices would tie a graph to sizes that need them.
    return F.pad(x, (0, 0, 0, right, 0, bottom))
