"""STViT: super token sampling, attention among the super tokens, and the way back to pixels."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.scale import LayerScale
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.models.arch import (
    Arch,
    check_positive,
    check_ratios,
    check_whole_numbers,
    resolve_arch,
)
from mmscalablevit.models.layers import (
    PEG,
    DepthwiseConv,
    attend,
    merge_heads,
    split_heads,
    to_nchw,
    to_nhwc,
)
from mmscalablevit.models.pyramid import PyramidBackbone, Stage
from mmscalablevit.models.windows import join_windows, split_windows, unflatten, windows_along

PER_STAGE_KEYS = ("embed_dims", "depths", "num_heads", "cell_sizes", "layer_scales")
DEFAULTS: Arch = {"ffn_ratio": 4.0}

SMALL: Arch = {
    "embed_dims": [64, 128, 320, 512],
    "depths": [3, 5, 9, 3],
    "num_heads": [1, 2, 5, 8],
    "cell_sizes": [8, 4, 1, 1],
    "layer_scales": [0.0, 0.0, 0.0, 0.0],
}
BASE: Arch = {
    "embed_dims": [96, 192, 384, 512],
    "depths": [4, 6, 14, 6],
    "num_heads": [2, 3, 6, 8],
    "cell_sizes": [8, 4, 1, 1],
    "layer_scales": [0.0, 0.0, 1e-6, 1e-6],
}
LARGE: Arch = {
    "embed_dims": [96, 192, 448, 640],
    "depths": [4, 7, 19, 8],
    "num_heads": [2, 3, 7, 10],
    "cell_sizes": [8, 4, 1, 1],
    "layer_scales": [0.0, 0.0, 1e-6, 1e-6],
}
ARCH_ZOO = {"small": SMALL, "s": SMALL, "base": BASE, "b": BASE, "large": LARGE, "l": LARGE}

# The 3x3 cells around a cell, row by row: where each begins in a map with a border of one cell.
NEIGHBORS = [(row, column) for row in range(3) for column in range(3)]


def gather_neighbors(cells: Tensor) -> Tensor:
    """The 3x3 neighborhood of each cell, zeros outside the map.

    Args:
        cells: One vector a cell, (B, h, w, C).

    Returns:
        (B, h, w, 9, C), neighbors in row-major order.
    """
    height, width = cells.shape[1:3]
    padded = F.pad(cells, (0, 0, 1, 1, 1, 1))
    shifted = [padded[:, row : row + height, col : col + width] for row, col in NEIGHBORS]
    return torch.stack(shifted, dim=3)


def scatter_neighbors(contributions: Tensor) -> Tensor:
    """Sum what all cells contribute to a cell: the adjoint of :func:`gather_neighbors`.

    Args:
        contributions: What each cell gives to its neighbors, (B, h, w, 9, C).

    Returns:
        (B, h, w, C); what falls outside the map is lost.
    """
    height, width = contributions.shape[1:3]
    padded = F.pad(contributions, (0, 0, 0, 0, 1, 1, 1, 1))
    total = padded[:, 2:, 2:, 0]  # slot (0, 0) of the cell below, on the right
    for slot, (row, col) in enumerate(NEIGHBORS[1:], start=1):
        total = total + padded[:, 2 - row : 2 - row + height, 2 - col : 2 - col + width, slot]
    return total


class MapAttention(nn.Module):
    """Multi-head self-attention among all positions of a map.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        # Head by head, each with its queries, keys and values, as the released weights have it.
        q, k, v = split_heads(self.qkv(x).flatten(1, 2), self.num_heads).chunk(3, dim=-1)
        return self.proj(unflatten(merge_heads(attend(q, k, v, self.scale)), 1, x.shape[1:3]))


class SuperTokenAttention(MapAttention):
    """Super token attention (section 3.2): attention among one super token a cell.

    Each pixel is associated with the nine super tokens of the cells around it. By these
    associations the pixels are summed up to super tokens, and the super tokens, after attention
    among themselves, are handed back to the pixels. The associations carry no gradient.

    Pixels of a cell share their neighbors, so that all three steps are products of small
    matrices, one a cell.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads of the attention; each is C / num_heads wide.
        cell_size: Side of a cell in pixels. A map that it does not divide is padded with zeros,
            which count as pixels.
    """

    def __init__(self, embed_dims: int, num_heads: int, cell_size: int) -> None:
        super().__init__(embed_dims, num_heads)
        self.cell_size = cell_size
        self.affinity_scale = embed_dims**-0.5

    def associate(self, pixels: Tensor) -> Tensor:
        """Associate each pixel with the super tokens around it.

        Args:
            pixels: The pixels of each cell, (B, h, w, c * c, C).

        Returns:
            Weights of the nine neighbors, which sum up to 1: (B, h, w, c * c, 9) in float32.
            Neighbors outside the map have a share too, as in the released models.
        """
        neighbors = gather_neighbors(pixels.mean(dim=3) * self.affinity_scale)
        return (pixels @ neighbors.transpose(-1, -2)).softmax(dim=-1, dtype=torch.float32)

    def split_cells(self, x: Tensor) -> Tensor:
        """Split a map (B, H, W, C) into the pixels of its h x w cells, (B, h, w, c * c, C)."""
        grid = (windows_along(length, self.cell_size) for length in x.shape[1:3])
        return unflatten(split_windows(x, self.cell_size), 0, (x.shape[0], *grid))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        pixels = self.split_cells(x)
        affinity = self.associate(pixels.detach())
        # Half precision has neither the range for 1e-12 nor the digits for long sums.
        totals = scatter_neighbors(affinity.sum(dim=3).unsqueeze(-1)) + 1e-12
        affinity = affinity.to(x.dtype)
        sums = scatter_neighbors(affinity.transpose(-1, -2) @ pixels)
        super_tokens = super().forward((sums / totals).to(x.dtype))
        pixels = affinity @ gather_neighbors(super_tokens)
        return join_windows(pixels.flatten(0, 2), self.cell_size, x.shape[:3])


class ConvFFN(nn.Module):
    """Linear layer, GELU, a depth-wise 3x3 convolution with a residual, linear layer.

    Args:
        embed_dims: Channels of input and output.
        ffn_ratio: Hidden channels per channel.
    """

    def __init__(self, embed_dims: int, ffn_ratio: float) -> None:
        super().__init__()
        hidden = int(embed_dims * ffn_ratio)
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.conv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        x = F.gelu(self.fc1(x))
        return self.fc2(x + self.conv(x))


class STViTBlock(nn.Module):
    """Position encoding, attention after LayerNorm and FFN after batch norm, with residuals.

    Args:
        attn: Attention on a (B, H, W, C) map.
        embed_dims: Channels C.
        ffn_ratio: Hidden channels per channel in the FFN.
        drop_path: Probability that a residual branch is dropped for a sample.
        layer_scale: Initial factor on each channel of the branches; 0 for no such factors.
        norm_cfg: The norm before the FFN.
    """

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        ffn_ratio: float,
        drop_path: float,
        layer_scale: float,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.peg = PEG(embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = attn
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.ffn = ConvFFN(embed_dims, ffn_ratio)
        self.scale1, self.scale2 = (
            LayerScale(embed_dims, scale=layer_scale) if layer_scale else nn.Identity()
            for _ in range(2)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        x = self.peg(x)
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x))))
        # The norm sees NCHW, which SyncBN, taking its place in distributed training, needs.
        normed = to_nhwc(self.norm2(to_nchw(x)))
        return x + self.drop_path(self.scale2(self.ffn(normed)))


class ConvStack(nn.Sequential):
    """3x3 convolutions, activations and norms that run on a channels-last map."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C_in) to (B, H', W', C)."""
        return to_nhwc(super().forward(to_nchw(x)))


def conv3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    """3x3 convolution with bias, padded by 1."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


def build_stem(in_channels: int, embed_dims: int, norm_cfg: dict) -> ConvStack:
    """The stem: four convolutions, each followed by GELU and a norm; of stride 4 in all."""
    widths = [in_channels, embed_dims // 2, embed_dims // 2, embed_dims, embed_dims]
    layers: dict[str, nn.Module] = {}
    for i, stride in enumerate((2, 1, 2, 1)):
        layers[f"conv{i}"] = conv3x3(widths[i], widths[i + 1], stride)
        layers[f"act{i}"] = nn.GELU()
        layers[f"norm{i}"] = build_norm_layer(norm_cfg, widths[i + 1])[1]
    return ConvStack(OrderedDict(layers))


def build_downsampling(in_channels: int, embed_dims: int, norm_cfg: dict) -> ConvStack:
    """What leads from a stage to the next one: a convolution of stride 2 and a norm."""
    conv = conv3x3(in_channels, embed_dims, stride=2)
    return ConvStack(OrderedDict(conv=conv, norm=build_norm_layer(norm_cfg, embed_dims)[1]))


@MODELS.register_module()
class STViT(PyramidBackbone):
    """STViT, super token sampling (`CVPR 2023 <https://arxiv.org/abs/2211.11167>`_).

    Called SViT in the paper's tables. Images may have any size of at least 32 pixels a side; the
    outputs equal those of the released models.

    Args:
        arch: ``'small'``/``'s'``, ``'base'``/``'b'``, ``'large'``/``'l'``; or a dict of what
            differs from one of these, such as ``dict(base='small', ffn_ratio=3)``; or a dict
            without base, with all lists of one entry a stage:

            - **embed_dims**: channels.
            - **depths**: number of blocks.
            - **num_heads**: attention heads.
            - **cell_sizes**: side of a super token's cell in pixels of the stage's map; 1 for
              attention among the pixels themselves.
            - **layer_scales**: initial factor on the branches' channels; 0 for no factors.

            and, optionally:

            - **ffn_ratio**: hidden channels of the FFN per channel. Default 4.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Stages whose outputs are returned, from 0.
        output_norms: Whether each output goes through a LayerNorm of its own. The released
            classifiers have none: their head begins with a convolution and a batch norm.
        frozen_stages: Stages 0 to this one are frozen, batch norms included; -1 for none.
        norm_cfg: The batch norms, such as ``dict(type='SyncBN')`` where a GPU holds few images.
        with_cp: Recompute the blocks' activations in the backward pass to save memory. Batch
            norms then count each image twice in their running statistics.
        init_cfg: Initialisation by MMEngine's rules, on top of PyTorch's defaults, which are
            the released code's own for all layers of the body.
            ``dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')`` loads ImageNet
            weights.
        pretrained: None, as configs of MMSegmentation may say; weights are ``init_cfg``'s.

    Raises:
        ValueError: An argument is unknown, out of range or inconsistent; the message names it.

    Examples:
        >>> model = STViT('small', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 200, 316))]
        [(1, 64, 50, 79), (1, 128, 25, 40), (1, 320, 13, 20), (1, 512, 7, 10)]
    """

    classifier_norm = False

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "small",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (3,),
        output_norms: bool = False,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        pretrained: None = None,
    ) -> None:
        settings = resolve_arch(arch, ARCH_ZOO, DEFAULTS, PER_STAGE_KEYS)
        check_arch(settings)
        super().__init__(
            functools.partial(
                build_stage, settings, norm_cfg=norm_cfg or {"type": "BN"}, with_cp=with_cp
            ),
            arch=settings,
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            norm_eps=1e-6 if output_norms else None,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
            pretrained=pretrained,
        )


def check_arch(arch: Arch) -> None:
    """Check what only STViT's architectures have.

    Raises:
        ValueError: A value is inconsistent; the message names its key.
    """
    check_whole_numbers(arch, "cell_sizes")
    check_ratios(arch, "ffn_ratio", [arch["ffn_ratio"]] * len(arch["depths"]))
    for stage, scale in enumerate(arch["layer_scales"]):
        if isinstance(scale, bool) or scale != 0:
            check_positive(f"arch['layer_scales'], unless 0, of stage {stage}", scale)
    if arch["embed_dims"][0] % 2:
        raise ValueError(f"arch: the stem halves embed_dims {arch['embed_dims'][0]} of stage 0")


def build_stage(
    arch: Arch,
    stage: int,
    in_channels: int,
    drop_paths: list[float],
    *,
    norm_cfg: dict,
    with_cp: bool,
) -> Stage:
    """Build one stage, with the stem or the downsampling that leads to it."""
    dims, heads = arch["embed_dims"][stage], arch["num_heads"][stage]
    cell_size, scale = arch["cell_sizes"][stage], arch["layer_scales"][stage]
    build_entry = build_stem if stage == 0 else build_downsampling
    blocks = []
    for drop_path in drop_paths:
        attn = (
            SuperTokenAttention(dims, heads, cell_size)
            if cell_size > 1
            else MapAttention(dims, heads)
        )
        blocks.append(STViTBlock(attn, dims, arch["ffn_ratio"], drop_path, scale, norm_cfg))
    return Stage(build_entry(in_channels, dims, norm_cfg), blocks, with_cp)
