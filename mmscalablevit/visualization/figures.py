"""Pictures side by side on one page, without a screen or a backend of Matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def make_grid(
    rows: int, columns: int, inches: float, image: np.ndarray
) -> tuple[Figure, np.ndarray]:
    """Make a figure with places for pictures.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        inches: Shorter side of a place.
        image: The shape of a place is that of this image, (H, W, 3).

    Returns:
        The figure, and its axes (rows, columns), bare of ticks.
    """
    height, width = (inches * side / min(image.shape[:2]) for side in image.shape[:2])
    size = (width * columns + 0.3, (height + 0.25) * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], frame_on=False)
    return figure, grid


def save(figure: Figure, file: Path) -> None:
    """Write a figure as a PNG; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
