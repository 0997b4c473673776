"""Feature maps after blocks of several models, side by side: the paper's Figures 1 and 7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mmcv
import numpy as np
from mmengine.visualization import Visualizer
from torch import Tensor, nn

from mmscalablevit.cli.config import parse_size
from mmscalablevit.errors import UsageError
from mmscalablevit.models.pyramid import MIN_INPUT_SIZE, PyramidBackbone
from mmscalablevit.visualization import figures
from mmscalablevit.visualization.models import compute_maps

# What one value of each position is made of; names of MMEngine's Visualizer.
REDUCTIONS = {"mean": "squeeze_mean", "strongest": "select_max"}


class Place(NamedTuple):
    """A block, counted from 0 as in the parameters' names; negative blocks from the last."""

    stage: int
    block: int


def parse_place(text: str) -> Place:
    """Read ``STAGE.BLOCK``, such as ``2.10`` or ``1.-1``.

    Raises:
        UsageError: It is something else.
    """
    match = re.fullmatch(r"(\d+)\.(-?\d+)", text)
    if match is None:
        raise UsageError(f"block {text!r}: a block is STAGE.BLOCK from 0, such as 2.10 or 1.-1")
    return Place(int(match[1]), int(match[2]))


def split_model(text: str) -> tuple[str, str | None]:
    """Config and checkpoint out of ``CONFIG[:CHECKPOINT]``."""
    config, *checkpoint = re.split(r"(?<=\.py):", text, maxsplit=1)
    return config, checkpoint[0] if checkpoint else None


def read_image(file: Path, size: str | None) -> np.ndarray:
    """Read an image, (H, W, 3) in BGR, brought to a size, ``'HxW'`` or ``'N'``, if one is given.

    Raises:
        UsageError: There is no such image, or the size is none.
    """
    wanted = None if size is None else parse_size(size)
    image = figures.read_image(file)
    if wanted is not None:
        image = mmcv.imresize(image, wanted[::-1], interpolation="bicubic")
    height, width = image.shape[:2]
    if min(height, width) < MIN_INPUT_SIZE:
        raise UsageError(
            f"{file} has {height}x{width} pixels, and {MIN_INPUT_SIZE} a side are the least: say"
            " --size"
        )
    return image


def find_block(backbone: PyramidBackbone, place: Place, name: str) -> nn.Module:
    """The block at a place; where there is none, the error says what there is."""
    depths = backbone.depths
    if place.stage >= len(depths):
        raise UsageError(f"{name} has stages 0 to {len(depths) - 1}, no stage {place.stage}")
    depth = depths[place.stage]
    if not -depth <= place.block < depth:
        raise UsageError(
            f"stage {place.stage} of {name} has blocks 0 to {depth - 1}, no block {place.block}"
        )
    blocks: Any = backbone.stages[place.stage].blocks
    return blocks[place.block]


def compute_features(
    model: Any, image: np.ndarray, places: Sequence[Place], name: str
) -> list[Tensor]:
    """Maps (C, H', W') after blocks, for one image (H, W, 3) in BGR.

    Raises:
        UsageError: The backbone is another package's, or a block does not exist.
    """
    if not isinstance(getattr(model, "backbone", None), PyramidBackbone):
        raise UsageError(f"{name}: its backbone is none of this package's")
    maps: dict[int, Tensor] = {}

    def keep(index: int, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        maps[index] = output[0].permute(2, 0, 1)  # blocks are channels-last

    blocks = [find_block(model.backbone, place, name) for place in places]
    hooks = [block.register_forward_hook(partial(keep, i)) for i, block in enumerate(blocks)]
    compute_maps(model, image, hooks)
    return [maps[index] for index in range(len(places))]


def save_features(
    rows: Sequence[tuple[str, Sequence[Tensor]]],
    places: Sequence[Place],
    image: np.ndarray,
    file: Path,
    reduction: str = "mean",
) -> None:
    """Write the maps as one picture: a row a model, a column a block, the image before them.

    Every map has its own range of colours, and its positions are shown as they are, without
    interpolation: the borders of windows would vanish.

    Args:
        rows: Title of each model, and its maps (C, H', W').
        places: The blocks.
        image: (H, W, 3) in BGR.
        file: The PNG to write.
        reduction: A key of ``REDUCTIONS``.
    """
    titles = ["image", *(f"stage {place.stage}, block {place.block}" for place in places)]
    figure, grid = figures.make_grid(len(rows), len(titles), 2.2, image)
    for axes_row, (name, maps) in zip(grid, rows, strict=True):
        shown = [mmcv.bgr2rgb(image)]
        shown += [Visualizer.draw_featmap(x, channel_reduction=REDUCTIONS[reduction]) for x in maps]
        for axes, picture in zip(axes_row, shown, strict=True):
            figures.show_map(axes, picture, image)
        axes_row[0].set_ylabel(name, fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figures.save(figure, file)
