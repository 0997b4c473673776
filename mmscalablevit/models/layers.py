"""Layers that the backbones share. Maps are channels-last, (B, H, W, C), throughout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn


def to_nchw(x: Tensor) -> Tensor:
    """View a (B, H, W, C) map as (B, C, H, W), in channels-last memory, without a copy."""
    return x.permute(0, 3, 1, 2)


def to_nhwc(x: Tensor) -> Tensor:
    """View a (B, C, H, W) map as (B, H, W, C) without a copy."""
    return x.permute(0, 2, 3, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T * scale + bias) v, through PyTorch's fused kernels.

    Args:
        q: Queries, (B, heads, N, d_qk).
        k: Keys, (B, heads, M, d_qk).
        v: Values, (B, heads, M, d_v).
        scale: Factor on the products.
        bias: Added to the scaled products; broadcasts to (B, heads, N, M).

    Returns:
        (B, heads, N, d_v).
    """
    if q.is_cpu and q.dtype == torch.bfloat16 and q.requires_grad:
        # There the backward pass takes several times as long in bfloat16 as in float32.
        bias = bias if bias is None or bias.dtype == torch.bool else bias.float()
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), scale, bias).to(torch.bfloat16)
    # The fused kernels want one head width. Zeros add nothing to a product of q and k, and
    # the columns that zeros in v produce are cut off, so padding is exact.
    width, extra = v.shape[-1], v.shape[-1] - q.shape[-1]
    if extra > 0:
        q, k = F.pad(q, (0, extra)), F.pad(k, (0, extra))
    elif extra < 0:
        v = F.pad(v, (0, -extra))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return out[..., :width]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, heads * d) to (B, heads, N, d)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, d) to (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)


class DepthwiseConv(nn.Conv2d):
    """Depth-wise 3x3 convolution with bias on a channels-last map, size unchanged."""

    def __init__(self, embed_dims: int) -> None:
        super().__init__(embed_dims, embed_dims, kernel_size=3, padding=1, groups=embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        return to_nhwc(super().forward(to_nchw(x)))


class PEG(nn.Module):
    """Position encoding generator: x + dwconv3x3(x), padded with zeros.

    From `CPVT <https://arxiv.org/abs/2102.10882>`_. ScalableViT has one after the first block of
    a stage (its section 3.4; no weight decay in its recipes), STViT at the start of each block.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        return x + self.conv(x)


class PatchEmbed(nn.Module):
    """Strided convolution and LayerNorm: the entry of a stage.

    The output is as large as the convolution makes it, floor((H + 2p - k) / s) + 1 a side.

    Args:
        in_channels: Channels of the input.
        embed_dims: Channels of the output.
        kernel_size: Side of the kernel; padding is half of it.
        stride: Stride of the convolution.
        norm_eps: Epsilon of the LayerNorm.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        kernel_size: int,
        stride: int,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            in_channels, embed_dims, kernel_size, stride=stride, padding=kernel_size // 2
        )
        self.norm = nn.LayerNorm(embed_dims, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H', W', embed_dims)."""
        return self.norm(to_nhwc(self.projection(to_nchw(x))))


class FFN(nn.Module):
    """Two linear layers with GELU between them.

    Args:
        embed_dims: Channels of input and output.
        ffn_ratio: Hidden channels per channel.
    """

    def __init__(self, embed_dims: int, ffn_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(embed_dims * ffn_ratio)
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: attention and FFN, each with a residual and drop path.

    Args:
        attn: Attention on a (B, H, W, C) map.
        embed_dims: Channels C.
        ffn_ratio: Hidden channels per channel in the FFN.
        drop_path: Probability that a residual branch is dropped for a sample.
        norm_eps: Epsilon of both LayerNorms.
        ffn_layer: Class of the FFN; built with ``embed_dims`` and ``ffn_ratio``.
    """

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        ffn_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        ffn_layer: Callable[[int, float], nn.Module] = FFN,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.attn = attn
        self.norm2 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.ffn = ffn_layer(embed_dims, ffn_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates that grow linearly from 0 at the first block to ``rate`` at the last.

    Args:
        rate: Rate of the last block.
        depths: Number of blocks of each stage.

    Returns:
        One list a stage, one rate a block.

    Raises:
        ValueError: The rate is no probability below 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"drop_path_rate lies in [0, 1), not {rate}")
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:i]) for i in range(len(depths))]
    return [
        [rate * (start + j) / last for j in range(depth)]
        for start, depth in zip(starts, depths, strict=True)
    ]


def init_layer(module: nn.Module) -> None:
    """Initialise one layer as the released code does; for ``Module.apply``.

    Linear: truncated normal, std 0.02, bias 0. Convolution: normal, std sqrt(2 / fan_out) with
    fan_out = k * k * out / groups, bias 0. LayerNorm: weight 1, bias 0.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        # mmengine's KaimingInit leaves the groups out of fan_out.
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
