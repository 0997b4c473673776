"""Super tokens as regions of an image: which of them each pixel is associated with most."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor, nn

from mmscalablevit.errors import UsageError
from mmscalablevit.models.stvit import NEIGHBORS, STViT, SuperTokenAttention
from mmscalablevit.models.windows import join_windows
from mmscalablevit.visualization import figures
from mmscalablevit.visualization.models import compute_maps

COLOR_STEP = 97


def assign_pixels(attention: SuperTokenAttention, x: Tensor) -> Tensor:
    """Number of the super token that each position of an input (B, H, W, C) belongs to most.

    Returns:
        (B, H, W); super tokens are numbered row by row. A share outside the map, which no super
        token receives, does not count.
    """
    weights = attention.associate(attention.split_cells(x))
    batch, rows, columns = weights.shape[:3]
    grid = torch.arange(rows * columns, device=x.device).reshape(rows, columns)
    padded = nn.functional.pad(grid, (1, 1, 1, 1), value=-1)
    numbers = torch.stack(
        [padded[row : row + rows, col : col + columns] for row, col in NEIGHBORS], dim=-1
    )[None, :, :, None].expand(batch, -1, -1, weights.shape[3], -1)
    chosen = weights.masked_fill(numbers < 0, -1.0).argmax(dim=-1, keepdim=True)
    assigned = numbers.gather(-1, chosen)
    return join_windows(assigned.flatten(0, 2), attention.cell_size, x.shape[:3])[..., 0]


def assign_image(model: Any, image: np.ndarray) -> dict[str, Tensor]:
    """Super tokens of every super token attention of a model's backbone, for an image in BGR.

    Returns:
        Number of the super token of each position of a block's map, (H', W'), by the block's
        place (``'0.2'`` is the third block of the first stage), in the order of computation.

    Raises:
        UsageError: The model has no super tokens.
    """
    backbone = model.backbone
    if not isinstance(backbone, STViT):
        raise UsageError(
            f"the model has no super tokens: its backbone is a {type(backbone).__name__}, no STViT"
        )
    found: dict[str, Tensor] = {}

    def note(place: str, module: SuperTokenAttention, inputs: tuple[Tensor]) -> None:
        found[place] = assign_pixels(module, inputs[0])[0]

    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, SuperTokenAttention):
            _, stage, _, block, _ = name.split(".")  # stages.0.blocks.2.attn
            hooks.append(module.register_forward_pre_hook(partial(note, f"{stage}.{block}")))
    compute_maps(model, image, hooks)
    return found


def draw_super_tokens(image: np.ndarray, found: dict[str, Tensor], out: Path) -> None:
    """Draw an image in BGR, and over it what :func:`assign_image` found, as coloured regions."""
    figure, grid = figures.make_grid(1, len(found) + 1, 3, image)
    for axes, title in zip(grid[0], ["image", *(f"block {place}" for place in found)], strict=True):
        axes.imshow(mmcv.bgr2rgb(image))
        axes.set_title(title, fontsize=8)
    for axes, assigned in zip(grid[0, 1:], found.values(), strict=True):
        # Neighbors differ: the step is coprime to the 256 colours.
        regions = colormaps["hsv"](assigned.cpu().numpy() * COLOR_STEP % 256)[..., :3]
        figures.show_map(axes, regions, image, alpha=0.5)
    figures.save(figure, out)
