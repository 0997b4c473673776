"""Draw the pictures of docs/concepts.md from the modules themselves.

`python docs/drawings/concepts.py` writes them into docs/images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import nn

from mmscalablevit.models.scalablevit import ARCH_ZOO, IWSA, SSA, WSA

IMAGES = Path(__file__).resolve().parent.parent / "images"
SIDE, CHANNELS, HEADS = 28, 32, 2  # four windows of 7 tokens along each side
TOKEN = (9, 13)  # row and column: in a window's right column
COLOURS = {"q": "#4c72b0", "k": "#dd8452", "v": "#55a868", "x": "#8c8c8c", "weights": "#c44e52"}


def influence(module: nn.Module) -> np.ndarray:
    """How much each input token moves one output token.

    Returns:
        Norms of the derivatives of the output at TOKEN by the input, (SIDE, SIDE), the mean
        over random maps, with 1 for the largest.
    """
    total = torch.zeros(SIDE, SIDE)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=CHANNELS**-0.5 if parameter.dim() < 4 else 0.3)
    for _ in range(8):
        x = torch.randn(1, SIDE, SIDE, CHANNELS, requires_grad=True)
        received = module(x)[0, TOKEN[0], TOKEN[1]].square().sum()
        (gradient,) = torch.autograd.grad(received, x)
        total += gradient[0].norm(dim=-1)
    return (total / total.max()).numpy()


def save(figure: Figure, file: Path) -> None:
    """Write a picture without margins."""
    figure.savefig(file, dpi=130, bbox_inches="tight")


def draw_reach(file: Path) -> None:
    """What one token receives something from, through each attention."""
    torch.manual_seed(0)
    modules = {
        "WSA: its window": WSA(CHANNELS, HEADS),
        "IWSA: and its neighbours\nbeyond the border": IWSA(CHANNELS, HEADS),
        "SSA: the whole map,\nin patches of r x r": SSA(CHANNELS, HEADS, 1.25, 4),
        "IWSA, then SSA": nn.Sequential(IWSA(CHANNELS, HEADS), SSA(CHANNELS, HEADS, 1.25, 4)),
    }
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    grid = figure.subplots(1, len(modules))
    for axes, (title, module) in zip(grid, modules.items(), strict=True):
        reached = np.ma.masked_equal(influence(module), 0)
        shown = axes.imshow(reached, cmap="Blues", norm=LogNorm(1e-2, 1))
        for line in np.arange(7, SIDE, 7) - 0.5:
            axes.axhline(line, color="grey", linewidth=0.5)
            axes.axvline(line, color="grey", linewidth=0.5)
        corner = (TOKEN[1] - 0.5, TOKEN[0] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="red", linewidth=1.5))
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=grid, label="influence", shrink=0.8, pad=0.01)
    save(figure, file)


def box(axes: Axes, place: tuple[float, float], size: tuple[float, float], kind: str) -> None:
    """A matrix as a rectangle; its size is that of the matrix."""
    axes.add_patch(Rectangle(place, *size, facecolor=COLOURS[kind], edgecolor="black", alpha=0.85))


def draw_shapes(file: Path) -> None:
    """The matrices of an attention of stage 2 of ScalableViT-S at 224, heads together, to scale."""
    arch, stage, side = ARCH_ZOO["small"], 1, 28
    dims, ratio = arch["embed_dims"][stage], arch["spatial_ratios"][stage]
    with torch.device("meta"):
        ssa = SSA(dims, arch["num_heads"][stage], arch["channel_ratios"][stage], ratio)
        _, rows, columns, scaled = ssa.reduction(torch.empty(1, side, side, dims)).shape
    tokens, fewer = side * side, rows * columns
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    plain, scalable = figure.subplots(1, 2, width_ratios=(2.05, 1))
    for axes, title, keys, width in (
        (plain, "self-attention", tokens, dims), (scalable, "SSA", fewer, scaled),
    ):  # fmt: skip
        draw_attention(axes, tokens, keys, width, dims)
        axes.set_title(f"{title}: {keys} keys of {width} channels", fontsize=11)
    save(figure, file)


def draw_attention(axes: Axes, tokens: int, keys: int, width: int, dims: int) -> None:
    """Q times the transpose of K makes the weights, these times V the output."""
    gap = 170
    x, parts = 0.0, (
        ("q", width, tokens, "Q"), ("k", keys, width, "Kᵀ"),
        ("weights", keys, tokens, "weights"), ("v", dims, keys, "V"), ("x", dims, tokens, "out"),
    )  # fmt: skip
    for i, (kind, across, down, name) in enumerate(parts):
        box(axes, (x, -down), (across, down), kind)
        axes.text(x + across / 2, 30, name, ha="center", va="bottom", fontsize=9)
        axes.text(x + across / 2, -down - 25, f"{down}x{across}", ha="center", va="top", fontsize=7)
        sign = ("·", "→", "·", "→", "")[i]
        axes.text(x + across + gap / 2, -tokens / 2, sign, ha="center", va="center", fontsize=15)
        x += across + gap
    axes.set(xlim=(-90, x - gap + 90), ylim=(-tokens - 110, 130), aspect="equal")
    axes.axis("off")


def draw_stages(file: Path) -> None:
    """The four stages of ScalableViT-S at 224: maps, windows and reduced tokens."""
    arch = ARCH_ZOO["small"]
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    axes = figure.add_subplot()
    x = 0.0
    for stage, dims in enumerate(arch["embed_dims"]):
        side, ratio = 56 >> stage, arch["spatial_ratios"][stage]
        size = 56.0
        for dx, step, colour, title in (
            (0, 7, COLOURS["q"], "IWSA"), (size + 8, ratio, COLOURS["k"], "SSA"),
        ):  # fmt: skip
            left = x + dx
            axes.add_patch(Rectangle((left, 0), size, size, facecolor=colour, alpha=0.25))
            for line in range(0, side + 1, step):
                at = line * size / side
                axes.plot([left + at] * 2, [0, size], color=colour, linewidth=0.8)
                axes.plot([left, left + size], [at] * 2, color=colour, linewidth=0.8)
            axes.text(left + size / 2, size + 3, title, ha="center", fontsize=9)
        axes.text(
            x + size + 4, -4,
            f"stage {stage + 1}: {side}x{side} tokens, {dims} channels\n"
            f"windows of 7x7; r = {ratio}: {(side // ratio) ** 2} keys\n"
            f"{arch['depths'][stage]} blocks",
            ha="center", va="top", fontsize=8,
        )  # fmt: skip
        x += 2 * size + 38
        if stage < 3:
            arrow = FancyArrowPatch((x - 28, 28), (x - 4, 28), arrowstyle="-|>", mutation_scale=12)
            axes.add_patch(arrow)
    axes.set(xlim=(-2, x - 28), ylim=(-34, 68), aspect="equal")
    axes.axis("off")
    save(figure, file)


if __name__ == "__main__":
    draw_reach(IMAGES / "reach.png")
    draw_shapes(IMAGES / "attention_shapes.png")
    draw_stages(IMAGES / "stages.png")
