"""LVT: convolutional self-attention in the first stage, recursive atrous ones in the others."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.models.arch import Arch, check_ratios, check_whole_numbers, resolve_arch
from mmscalablevit.models.layers import (
    FFN,
    Block,
    DepthwiseConv,
    PatchEmbed,
    attend,
    init_layer,
    merge_heads,
    split_heads,
    to_nchw,
    to_nhwc,
)
from mmscalablevit.models.pyramid import PyramidBackbone, Stage
from mmscalablevit.models.windows import (
    crop,
    divides,
    pad_to_multiple,
    unflatten,
    windows_along,
)

NORM_EPS = 1e-5  # PyTorch's default, unlike the other backbones

PER_STAGE_KEYS = (
    "embed_dims",
    "depths",
    "num_heads",
    "ffn_ratios",
    "attentions",
    "spatial_ratios",
)
LVT_ARCH: Arch = {
    "embed_dims": [64, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "num_heads": [2, 2, 5, 8],
    "ffn_ratios": [4, 8, 4, 4],
    "attentions": ["CSA", "RASA", "RASA", "RASA"],
    "spatial_ratios": [1, 4, 2, 1],
}
ARCH_ZOO = {"lvt": LVT_ARCH}


def sum_overlapping(windows: Tensor, side: int, places: int) -> Tensor:
    """Add up windows of three places that stand at every second place of a side.

    The last place of a window is the first of the next one.

    Args:
        windows: n windows along one dimension, their places along another.
        side: Dimension of the windows.
        places: Dimension of the places, behind ``side``.

    Returns:
        The sums at the two places that each window begins, which are dimension ``side + 1``. The
        place before the side is left out.
    """
    first, middle, last = windows.unbind(places)
    following = first.narrow(side, 1, first.shape[side] - 1)
    nothing = torch.zeros_like(first.narrow(side, 0, 1))
    between = last + torch.cat((following, nothing), dim=side)
    return torch.stack((middle, between), dim=side + 1)


class CSA(nn.Module):
    """Convolutional self-attention (section 3.1): a 3x3 convolution of stride 2, made dynamic.

    In each 3x3 window every position attends to all nine, by weights that are a linear function
    of the window's mean and with values that go through a matrix of the position's own. Where
    windows overlap, their results are summed.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
    """

    KERNEL_SIZE = 3
    STRIDE = 2
    POSITIONS = KERNEL_SIZE**2

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.logits = nn.Linear(embed_dims, num_heads * self.POSITIONS**2)
        # One C x C matrix a position, position by position.
        channels = self.POSITIONS * embed_dims
        self.value = nn.Conv2d(channels, channels, 1, groups=self.POSITIONS, bias=False)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def reset_values(self) -> None:
        """Initialise the positions' matrices as the released code does: normal, all as one."""
        nn.init.normal_(self.value.weight, std=math.sqrt(2.0 / self.value.out_channels))

    def attention_weights(self, x: Tensor) -> Tensor:
        """Weights within each of the L windows, (B, L, heads, 9, 9), from a (B, H, W, C) map."""
        means = F.avg_pool2d(to_nchw(pad_to_multiple(x, self.STRIDE)), self.STRIDE)
        if not divides(self.STRIDE, x):  # a window that the border cuts has the mean of what it has
            real = pad_to_multiple(x.new_ones(1, *x.shape[1:3], 1), self.STRIDE)
            means = means / F.avg_pool2d(to_nchw(real), self.STRIDE)
        means = means.flatten(2).transpose(1, 2)
        logits = self.logits(means) * self.scale
        return logits.unflatten(-1, (self.num_heads, self.POSITIONS, self.POSITIONS)).softmax(-1)

    def window_values(self, x: Tensor) -> Tensor:
        """Values of each of the L windows, (B, L, heads, 9, d), from a (B, H, W, C) map."""
        height, width = (windows_along(n, self.STRIDE) * self.STRIDE for n in x.shape[1:3])
        padded = F.pad(x, (0, 0, 1, width - x.shape[2], 1, height - x.shape[1]))
        by_position = torch.cat(
            [
                padded[:, row : row + height - 1 : self.STRIDE, col : col + width - 1 : self.STRIDE]
                for row in range(self.KERNEL_SIZE)
                for col in range(self.KERNEL_SIZE)
            ],
            dim=-1,
        )
        values = to_nhwc(self.value(to_nchw(by_position))).flatten(1, 2)
        return values.unflatten(-1, (self.POSITIONS, self.num_heads, -1)).transpose(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        rows, columns = (windows_along(n, self.STRIDE) for n in x.shape[1:3])
        out = self.attention_weights(x) @ self.window_values(x)
        kernel = (self.KERNEL_SIZE, self.KERNEL_SIZE)
        windows = unflatten(out.unflatten(3, kernel), 1, (rows, columns))
        # F.fold would do the same in twice the time, and Inductor compiles it into writes outside
        # the map where the windows are transposed (PyTorch 2.13 on the CPU).
        by_rows = sum_overlapping(windows, side=1, places=4)  # (B, rows, 2, columns, heads, 3, d)
        summed = sum_overlapping(by_rows, side=3, places=5)  # (B, rows, 2, columns, 2, heads, d)
        whole = unflatten(summed.flatten(5).flatten(0, 4), 0, (x.shape[0], 2 * rows, 2 * columns))
        return self.proj(crop(whole, x.shape[1:3]))


class SpatialReduction(nn.Module):
    """Convolution r x r of stride r, and LayerNorm.

    A border rest that r does not divide is covered too, with zeros outside the map.

    Args:
        embed_dims: Channels C of input and output.
        spatial_ratio: Reduction r along each side.
    """

    def __init__(self, embed_dims: int, spatial_ratio: int) -> None:
        super().__init__()
        self.spatial_ratio = spatial_ratio
        self.conv = nn.Conv2d(embed_dims, embed_dims, spatial_ratio, stride=spatial_ratio)
        self.norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, ceil(H/r), ceil(W/r), C)."""
        x = pad_to_multiple(x, self.spatial_ratio)
        return self.norm(to_nhwc(self.conv(to_nchw(x))))


class RASA(nn.Module):
    """Recursive atrous self-attention (section 3.2).

    Queries see their surroundings at three scales: one depth-wise 3x3 kernel at three
    dilations. The attention runs twice with the same weights, the second time on the sum of
    its result and its input.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
        spatial_ratio: Reduction r of keys and values along each side.
    """

    DILATIONS = (1, 3, 5)

    def __init__(self, embed_dims: int, num_heads: int, spatial_ratio: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.q = nn.Linear(embed_dims, embed_dims, bias=False)
        self.atrous_kernel = nn.Parameter(torch.empty(embed_dims, 1, 3, 3))
        nn.init.kaiming_uniform_(self.atrous_kernel)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims, bias=False)
        self.reduction: nn.Module = nn.Identity()
        if spatial_ratio > 1:
            self.reduction = SpatialReduction(embed_dims, spatial_ratio)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def atrous_queries(self, x: Tensor) -> Tensor:
        """Queries (B, H, W, C) of a (B, H, W, C) map."""
        q, kernel = to_nchw(self.q(x)), self.atrous_kernel
        total, *others = (
            F.silu(F.conv2d(q, kernel, padding=d, dilation=d, groups=kernel.shape[0]))
            for d in self.DILATIONS
        )
        for response in others:
            total = total + response
        return to_nhwc(total)

    def attend_once(self, x: Tensor) -> Tensor:
        """One pass of the attention, (B, H, W, C) to (B, H, W, C)."""
        q = self.atrous_queries(x).flatten(1, 2)
        k, v = self.kv(self.reduction(x)).flatten(1, 2).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        return self.proj(unflatten(merge_heads(attend(q, k, v, self.scale)), 1, x.shape[1:3]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        first = F.silu(self.attend_once(x))
        return F.silu(self.attend_once(first + x))


class ConvFFN(nn.Module):
    """Linear layer, depth-wise 3x3 convolution, GELU, linear layer.

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
        return self.fc2(F.gelu(self.conv(self.fc1(x))))


@MODELS.register_module()
class LVT(PyramidBackbone):
    """LVT, lite vision transformer (`CVPR 2022 <https://arxiv.org/abs/2112.10809>`_).

    Images may have any size of at least 32 pixels a side; where the released code runs, the
    outputs equal those of the released model.

    Args:
        arch: ``'lvt'``; or a dict of what differs from it, such as ``dict(base='lvt',
            depths=[2, 2, 4, 2])``; or a dict without base, with all lists of one entry a stage:

            - **embed_dims**: channels.
            - **depths**: number of blocks.
            - **num_heads**: attention heads.
            - **ffn_ratios**: hidden channels of the FFN per channel.
            - **attentions**: ``'CSA'``, whose FFN is a plain one, or ``'RASA'``, whose FFN has
              a depth-wise convolution.
            - **spatial_ratios**: reduction r of RASA's keys and values along each side; CSA has
              none.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Stages whose outputs are returned, from 0.
        output_norms: Whether each output goes through a LayerNorm of its own. The released models
            have none: their class attention, detectors and segmentors take the raw maps.
        frozen_stages: Stages 0 to this one are frozen; -1 for none.
        with_cp: Recompute the blocks' activations in the backward pass to save memory.
        init_cfg: Initialisation by MMEngine's rules, on top of the released code's own.
            ``dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')`` loads ImageNet
            weights.
        pretrained: None, as configs of MMSegmentation may say; weights are ``init_cfg``'s.

    Raises:
        ValueError: An argument is unknown, out of range or inconsistent; the message names it.

    Examples:
        >>> model = LVT(out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 200, 316))]
        [(1, 64, 50, 79), (1, 64, 25, 40), (1, 160, 13, 20), (1, 256, 7, 10)]
    """

    # That of the released class attention comes after it, and belongs to the head.
    classifier_norm = False

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "lvt",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (3,),
        output_norms: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        pretrained: None = None,
    ) -> None:
        settings = resolve_arch(arch, ARCH_ZOO, {}, PER_STAGE_KEYS)
        check_arch(settings)
        super().__init__(
            functools.partial(build_stage, settings, with_cp=with_cp),
            arch=settings,
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            norm_eps=NORM_EPS if output_norms else None,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
            pretrained=pretrained,
        )
        self.apply(init_layer)
        for module in self.modules():
            if isinstance(module, CSA):
                module.reset_values()


def check_arch(arch: Arch) -> None:
    """Check what only LVT's architectures have.

    Raises:
        ValueError: A value is inconsistent; the message names its key.
    """
    check_whole_numbers(arch, "spatial_ratios")
    check_ratios(arch, "ffn_ratios", arch["ffn_ratios"])
    for stage, (name, ratio) in enumerate(
        zip(arch["attentions"], arch["spatial_ratios"], strict=True)
    ):
        if name not in ("CSA", "RASA"):
            raise ValueError(
                f"arch['attentions'] has an unknown name {name!r} for stage {stage}: known are"
                " CSA, RASA"
            )
        if name == "CSA" and ratio != 1:
            raise ValueError(
                f"arch: CSA has no keys to reduce, so that spatial_ratios of stage {stage} is 1,"
                f" not {ratio}"
            )


def build_stage(
    arch: Arch, stage: int, in_channels: int, drop_paths: list[float], *, with_cp: bool
) -> Stage:
    """Build one stage, of CSA with plain FFNs or of RASA with convolutional ones."""
    dims, heads, ratio = (arch[key][stage] for key in ("embed_dims", "num_heads", "ffn_ratios"))
    blocks = []
    for drop_path in drop_paths:
        if arch["attentions"][stage] == "CSA":
            blocks.append(Block(CSA(dims, heads), dims, ratio, drop_path, NORM_EPS, FFN))
        else:
            attn = RASA(dims, heads, arch["spatial_ratios"][stage])
            blocks.append(Block(attn, dims, ratio, drop_path, NORM_EPS, ConvFFN))
    kernel_size, stride = (7, 4) if stage == 0 else (3, 2)
    patch_embed = PatchEmbed(in_channels, dims, kernel_size, stride, NORM_EPS)
    return Stage(patch_embed, blocks, with_cp)
