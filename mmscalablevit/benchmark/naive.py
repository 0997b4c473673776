"""ScalableViT as its equations read: the baseline of the benchmarks and a check of the backbone.

What a straightforward port to PyTorch looks like: tokens (B, N, C) between the layers, NCHW maps
for the convolutions, attention as matmul, softmax, matmul, batched over windows and heads, and
windows that are filled up with masked padding where the map's border cuts them. Neither tuned nor
slowed down. The parameters have the names of :class:`mmscalablevit.ScalableViT`, of which nothing
else is used but the table of architectures: a state dict of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.models.arch import resolve_arch
from mmscalablevit.models.scalablevit import ARCH_ZOO, DEFAULTS, PER_STAGE_KEYS

Size = tuple[int, int]

WINDOW = 7


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """(B, H*W, C) to (B, C, H, W)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H*W, C)."""
    return x.flatten(2).transpose(1, 2)


def explicit_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None
) -> Tensor:
    """softmax(q k^T * scale + mask) v, on the last two axes."""
    weights = q @ k.transpose(-2, -1) * scale
    if mask is not None:
        weights = weights + mask
    return weights.softmax(dim=-1) @ v


class NaiveIWSA(nn.Module):
    """Interactive window-based self-attention (section 3.3)."""

    def __init__(self, dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dims // num_heads) ** -0.5
        self.qkv = nn.Linear(dims, 3 * dims)
        self.lim = nn.Conv2d(dims, dims, 3, padding=1, groups=dims)
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Tokens (B, H*W, C) to the same shape."""
        (batch, _, channels), (height, width) = x.shape, size
        x = x.reshape(batch, height, width, channels)
        bottom, right = -height % WINDOW, -width % WINDOW
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
        rows, columns = (height + bottom) // WINDOW, (width + right) // WINDOW
        windows = x.reshape(batch, rows, WINDOW, columns, WINDOW, channels).transpose(2, 3)
        windows = windows.reshape(batch, rows * columns, WINDOW * WINDOW, channels)
        qkv = self.qkv(windows).reshape(
            batch, rows * columns, WINDOW * WINDOW, 3, self.num_heads, channels // self.num_heads
        )
        # each (batch, windows, heads, tokens, channels of a head)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        mask = padding_mask(size, (rows, columns), x) if bottom or right else None
        z = self.merge(explicit_attention(q, k, v, self.scale, mask), (rows, columns), size)
        # The values of padding are the layer's bias: LIM must see the true map alone.
        value = self.merge(v, (rows, columns), size)
        y = to_tokens(self.lim(value.permute(0, 3, 1, 2)))
        return self.proj(z.reshape(batch, height * width, channels) + y)

    @staticmethod
    def merge(windows: Tensor, grid: Size, size: Size) -> Tensor:
        """Windows (B, rows * columns, heads, 49, d) of a grid to a map (B, H, W, heads * d)."""
        (batch, _, heads, _, width), (rows, columns) = windows.shape, grid
        x = windows.reshape(batch, rows, columns, heads, WINDOW, WINDOW, width)
        x = x.permute(0, 1, 4, 2, 5, 3, 6)
        x = x.reshape(batch, rows * WINDOW, columns * WINDOW, heads * width)
        return x[:, : size[0], : size[1]]


def padding_mask(size: Size, grid: Size, like: Tensor) -> Tensor:
    """Minus infinity for keys that are padding: (rows * columns, 1, 1, 49)."""
    (height, width), (rows, columns) = size, grid
    mask = like.new_zeros(rows * WINDOW, columns * WINDOW)
    mask[height:] = -torch.inf
    mask[:, width:] = -torch.inf
    mask = mask.reshape(rows, WINDOW, columns, WINDOW).transpose(1, 2)
    return mask.reshape(rows * columns, 1, 1, WINDOW * WINDOW)


class NaiveSSA(nn.Module):
    """Scalable self-attention (section 3.2)."""

    def __init__(self, dims: int, num_heads: int, channel_ratio: float, ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dims // num_heads * channel_ratio) ** -0.5
        self.scaled_dims = int(dims * channel_ratio) if ratio > 1 else dims
        self.ratio = ratio
        if ratio > 1:
            depthwise = nn.Conv2d(dims, dims, ratio, stride=ratio, groups=dims)
            pointwise = nn.Conv2d(dims, self.scaled_dims, 1)
            layers = {"depthwise": depthwise, "pointwise": pointwise}
            self.reduction = nn.ModuleDict({**layers, "norm": nn.LayerNorm(self.scaled_dims)})
        self.q = nn.Linear(dims, self.scaled_dims)
        self.kv = nn.Linear(self.scaled_dims, self.scaled_dims + dims)
        self.proj = nn.Linear(dims, dims)

    def reduce(self, x: Tensor, size: Size) -> Tensor:
        """Tokens (B, H*W, C) to (B, ceil(H/r) * ceil(W/r), C')."""
        bottom, right = (-length % self.ratio for length in size)
        x = F.pad(to_map(x, size), (0, right, 0, bottom))
        x = self.reduction["pointwise"](self.reduction["depthwise"](x))
        return F.gelu(self.reduction["norm"](to_tokens(x)))

    def heads(self, x: Tensor) -> Tensor:
        """(B, N, heads * d) to (B, heads, N, d)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Tokens (B, H*W, C) to the same shape."""
        reduced = self.reduce(x, size) if self.ratio > 1 else x
        k, v = self.kv(reduced).split([self.scaled_dims, x.shape[-1]], dim=-1)
        q, k, v = self.heads(self.q(x)), self.heads(k), self.heads(v)
        z = explicit_attention(q, k, v, self.scale, None)
        return self.proj(z.transpose(1, 2).reshape(x.shape))


class NaiveBlock(nn.Module):
    """Pre-norm attention and FFN, with residuals."""

    def __init__(self, attn: nn.Module, dims: int, ffn_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=1e-6)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dims, eps=1e-6)
        hidden = int(dims * ffn_ratio)
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(dims, hidden), "fc2": nn.Linear(hidden, dims)})
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Tokens (B, H*W, C) to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.ffn["fc2"](F.gelu(self.ffn["fc1"](self.norm2(x)))))


class NaiveStage(nn.Module):
    """Patch embedding, blocks, and the position encoding generator after the first of them."""

    def __init__(self, in_channels: int, dims: int, first: bool, blocks: list[NaiveBlock]) -> None:
        super().__init__()
        kernel, stride = (7, 4) if first else (3, 2)
        convolution = nn.Conv2d(in_channels, dims, kernel, stride, padding=kernel // 2)
        norm = nn.LayerNorm(dims, eps=1e-6)
        self.patch_embed = nn.ModuleDict({"projection": convolution, "norm": norm})
        self.blocks = nn.ModuleList(blocks)
        self.peg = nn.ModuleDict({"conv": nn.Conv2d(dims, dims, 3, padding=1, groups=dims)})

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        """Map (B, C_in, H, W) to tokens (B, H'*W', C) and (H', W')."""
        x = self.patch_embed["projection"](x)
        size = (x.shape[2], x.shape[3])
        x = self.patch_embed["norm"](to_tokens(x))
        for i, block in enumerate(self.blocks):
            x = block(x, size)
            if i == 0:
                x = x + to_tokens(self.peg["conv"](to_map(x, size)))
        return x, size


@MODELS.register_module()
class NaiveScalableViT(BaseModule):
    """ScalableViT, written without a thought for speed.

    Takes the place of :class:`mmscalablevit.ScalableViT` in a config of any task. Ablations, and
    freezing and checkpointing of stages, are not its business: it has some of the same arguments.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "small",
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (3,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        settings = resolve_arch(arch, ARCH_ZOO, DEFAULTS, PER_STAGE_KEYS)
        depths, dims = settings["depths"], settings["embed_dims"]
        self.out_indices = tuple(out_indices)
        self.stages = nn.ModuleList()
        for i, depth in enumerate(depths):
            heads, ratio = settings["num_heads"][i], settings["spatial_ratios"][i]
            blocks = []
            for j in range(depth):
                attn = (
                    NaiveSSA(dims[i], heads, settings["channel_ratios"][i], ratio)
                    if j % 2
                    else NaiveIWSA(dims[i], heads)
                )
                drop_path = drop_path_rate * (sum(depths[:i]) + j) / max(sum(depths) - 1, 1)
                blocks.append(NaiveBlock(attn, dims[i], 4.0, drop_path))
            self.stages.append(NaiveStage(dims[i - 1] if i else 3, dims[i], i == 0, blocks))
        for i in self.out_indices:
            self.add_module(f"norm{i}", nn.LayerNorm(dims[i], eps=1e-6))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map (B, C_i, H_i, W_i) for each of ``out_indices``."""
        outputs = []
        for i, stage in enumerate(self.stages):
            tokens, size = stage(x)
            x = to_map(tokens, size)
            if i in self.out_indices:
                outputs.append(to_map(getattr(self, f"norm{i}")(tokens), size).contiguous())
        return tuple(outputs)
