"""Feature maps after blocks of several models, side by side: the paper's Figures 1 and 7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.visualization import Visualizer
from torch import Tensor, nn

from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.cli.config import parse_size
from mmscalablevit.errors import UsageError
from mmscalablevit.models.pyramid import MIN_INPUT_SIZE, PyramidBackbone

matplotlib.use("agg")  # a server has no screen

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
    """Read an image, (H, W, 3) in BGR.

    Args:
        file: The image file.
        size: Height and width to bring it to, as ``'HxW'`` or ``'N'``; its own if None.

    Raises:
        UsageError: There is no such image, or the size is none.
    """
    wanted = None if size is None else parse_size(size)
    if not file.is_file():
        raise UsageError(f"image {file} does not exist")
    image = mmcv.imread(str(file))
    if image is None:
        raise UsageError(f"{file} is no image that OpenCV can read")
    if wanted is not None:
        image = mmcv.imresize(image, wanted[::-1], interpolation="bicubic")
    if min(image.shape[:2]) < MIN_INPUT_SIZE:
        height, width = image.shape[:2]
        raise UsageError(
            f"{file} has {height}x{width} pixels, and {MIN_INPUT_SIZE} a side are the least: say"
            " --size"
        )
    return image


def build_model(cfg: Config, checkpoint: str | None) -> Any:
    """Build a model in evaluation mode, with the checkpoint's weights or random ones.

    Raises:
        UsageError: Its backbone is none of this package's, or the checkpoint is another model's.
        CheckpointError: The checkpoint cannot be read.
    """
    backbone = cfg.model.get("backbone")
    if backbone is not None:
        backbone.init_cfg = None  # the checkpoint has all weights
    if "data_preprocessor" in cfg:  # where MMPretrain's configs have it
        cfg.model.setdefault("data_preprocessor", cfg.data_preprocessor)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if not isinstance(getattr(model, "backbone", None), PyramidBackbone):
        raise UsageError(f"{cfg.filename}: its backbone is none of this package's")
    model.init_weights()
    if checkpoint is not None:
        try:
            load_checkpoint(model, checkpoint, map_location="cpu", strict=True)
        except CheckpointError:
            raise
        except RuntimeError as error:
            message = f"{checkpoint} does not fit {cfg.filename}:\n{error}"
            raise UsageError(message) from error
    return model.eval()


def find_block(backbone: PyramidBackbone, place: Place, name: str) -> nn.Module:
    """The block at a place.

    Raises:
        UsageError: There is none; the message says what there is.
    """
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
    """Maps after blocks, for one image.

    Args:
        model: With a backbone of this package and the framework's data preprocessor.
        image: (H, W, 3) in BGR.
        places: The blocks.
        name: Of the model, for messages.

    Returns:
        One (C, H', W') map a block.

    Raises:
        UsageError: A block does not exist.
    """
    maps: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            maps[index] = output[0].permute(2, 0, 1)  # blocks are channels-last

        return hook

    hooks = [
        find_block(model.backbone, place, name).register_forward_hook(keep(index))
        for index, place in enumerate(places)
    ]
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    try:
        with torch.no_grad():
            batch = model.data_preprocessor({"inputs": [pixels], "data_samples": None})
            model.backbone(batch["inputs"])
    finally:
        for hook in hooks:
            hook.remove()
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
        file: The PNG to write; its folder is made.
        reduction: A key of ``REDUCTIONS``.
    """
    columns = ["image", *(f"stage {place.stage}, block {place.block}" for place in places)]
    aspect = image.shape[0] / image.shape[1]
    side = 2.2
    size = (side * len(columns) + 0.4, (side * aspect + 0.15) * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes_row, (title, maps) in zip(grid, rows, strict=True):
        pictures = [mmcv.bgr2rgb(image)]
        for x in maps:
            pictures.append(Visualizer.draw_featmap(x, channel_reduction=REDUCTIONS[reduction]))
        for axes, picture in zip(axes_row, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_xticks([])
            axes.set_yticks([])
        axes_row[0].set_ylabel(title, fontsize=9)
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize=9)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
