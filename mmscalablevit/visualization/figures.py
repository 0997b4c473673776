"""Pictures side by side on one page, without a screen or a backend of Matplotlib."""

from __future__ import annotations

import math
from pathlib import Path

import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmscalablevit.errors import UsageError


def read_image(file: Path) -> np.ndarray:
    """Read an image file of the user's, (H, W, 3) in BGR.

    Raises:
        UsageError: It does not exist, or cannot be read.
    """
    if not file.is_file():
        raise UsageError(f"image {file} does not exist, or is no file")
    image = mmcv.imread(str(file))
    if image is None:
        raise UsageError(f"{file} is no image that OpenCV can read")
    return image


def make_grid(
    rows: int, columns: int, inches: float, image: np.ndarray
) -> tuple[Figure, np.ndarray]:
    """Make a figure with places for pictures, in the shape of an image (H, W, 3).

    A place has the area of a square of so many inches a side.

    Returns:
        The figure, and its axes (rows, columns), bare of ticks.
    """
    aspect = math.sqrt(image.shape[1] / image.shape[0])
    height, width = inches / aspect, inches * aspect
    size = (width * columns + 0.3, (height + 0.25) * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    return figure, grid


def show_map(axes: Axes, picture: np.ndarray, image: np.ndarray, alpha: float = 1.0) -> None:
    """Draw a picture (H', W', 3) in RGB where the image (H, W, 3) is, its positions as they are."""
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # pixels reach half a pixel around centres
    axes.imshow(picture, extent=extent, alpha=alpha, interpolation="nearest")


def save(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
