"""ScalableViT's formulas the slow, obvious way: the truth that the tests hold the package to.

No windows are cut out and no kernel is fused: every token is compared with every other, and
those that the paper does not let see each other are left out one by one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmscalablevit.models import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.models.scalablevit import PEG, ScalableViT


def window_ids(height: int, width: int, window: int, shift: int = 0) -> Tensor:
    """Number of the window that each pixel of a map lies in, flattened.

    As in Swin, an axis that is no longer than a window is not shifted.
    """

    def along(length: int) -> list[int]:
        start = shift if length > window else 0
        return [(i + window - start) // window if start else i // window for i in range(length)]

    return torch.tensor([1000 * row + column for row in along(height) for column in along(width)])


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, logits: Tensor) -> Tensor:
    """softmax(q k^T scale + logits) v for one head: (N, d), (M, d), (M, e) to (N, e)."""
    products = q @ k.T * scale + logits
    weights = torch.exp(products - products.max(dim=1, keepdim=True).values)
    return weights / weights.sum(dim=1, keepdim=True) @ v


def depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Depth-wise 3x3 convolution of an (H, W, C) map, one shift of the map at a time."""
    height, width, channels = x.shape
    padded = x.new_zeros(height + 2, width + 2, channels)
    padded[1:-1, 1:-1] = x
    out = conv.bias.expand(height, width, channels)
    for dy in range(3):
        for dx in range(3):
            out = out + padded[dy : dy + height, dx : dx + width] * conv.weight[:, 0, dy, dx]
    return out


def window_attention(module: WSA, x: Tensor) -> Tensor:
    """WSA, IWSA, SWSA or WSA with LEM on an (H, W, C) map."""
    height, width, channels = x.shape
    heads, window = module.num_heads, module.window_size
    d = channels // heads
    q, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).flatten(0, 1).split(channels, dim=1)
    shift = window // 2 if isinstance(module, SWSA) else 0
    ids = window_ids(height, width, window, shift)
    outside = ids[:, None] != ids[None, :]
    outputs = []
    for head in range(heads):
        logits = x.new_zeros(height * width, height * width)
        if isinstance(module, SWSA):
            for i in range(height * width):
                for j in range(height * width):
                    if ids[i] == ids[j]:
                        dy, dx = i // width - j // width, i % width - j % width
                        logits[i, j] = module.relative_position_bias[
                            head, dy + window - 1, dx + window - 1
                        ]
        logits = logits.masked_fill(outside, -math.inf)
        part = slice(head * d, (head + 1) * d)
        outputs.append(explicit_attention(q[:, part], k[:, part], v[:, part], d**-0.5, logits))
    z = torch.cat(outputs, dim=1).reshape(height, width, channels)
    value = v.reshape(height, width, channels)
    if isinstance(module, IWSA):
        z = z + depthwise(module.lim, value)
    if isinstance(module, WSAWithLEM):
        local = torch.zeros_like(value)
        for top in range(0, height, window):
            for left in range(0, width, window):
                cut = slice(top, top + window), slice(left, left + window)
                local[cut] = depthwise(module.lem, value[cut])
        z = z + local
    return F.linear(z, module.proj.weight, module.proj.bias)


def scalable_attention(module: SSA, x: Tensor) -> Tensor:
    """SSA on an (H, W, C) map."""
    height, width, channels = x.shape
    tokens = x.flatten(0, 1)
    if isinstance(module.reduction, nn.Identity):
        reduced = tokens
    else:
        conv, r = module.reduction.depthwise, module.reduction.spatial_ratio
        cells = []
        for top in range(0, height, r):
            for left in range(0, width, r):
                cell = conv.bias
                for y in range(top, min(top + r, height)):
                    for column in range(left, min(left + r, width)):
                        cell = cell + x[y, column] * conv.weight[:, 0, y - top, column - left]
                cells.append(cell)
        pointwise, norm = module.reduction.pointwise, module.reduction.norm
        reduced = torch.stack(cells) @ pointwise.weight[:, :, 0, 0].T + pointwise.bias
        reduced = F.gelu(F.layer_norm(reduced, norm.normalized_shape, norm.weight, norm.bias, 1e-5))
    scaled = module.scaled_dims
    q = F.linear(tokens, module.q.weight, module.q.bias)
    k = F.linear(reduced, module.kv.weight[:scaled], module.kv.bias[:scaled])
    v = F.linear(reduced, module.kv.weight[scaled:], module.kv.bias[scaled:])
    heads = module.num_heads
    parts = zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True)
    z = torch.cat(
        [explicit_attention(*part, module.scale, torch.zeros(())) for part in parts], dim=1
    )
    return F.linear(z, module.proj.weight, module.proj.bias).reshape(height, width, channels)


def attention(module: nn.Module, x: Tensor) -> Tensor:
    """Any attention of this package on a batch, (B, H, W, C) to the same shape."""
    single = scalable_attention if isinstance(module, SSA) else window_attention
    return torch.stack([single(module, image) for image in x])


def backbone(model: ScalableViT, images: Tensor) -> list[Tensor]:
    """Outputs of a ScalableViT in evaluation mode, for all of its stages: NCHW maps."""
    outputs = []
    x = images
    for i, stage in enumerate(model.stages):
        projection = stage.patch_embed.projection
        x = F.conv2d(
            x,
            projection.weight,
            projection.bias,
            stride=4 if i == 0 else 2,
            padding=3 if i == 0 else 1,
        )
        x = norm(stage.patch_embed.norm, x.permute(0, 2, 3, 1))
        for j, block in enumerate(stage.blocks):
            x = x + attention(block.attn, norm(block.norm1, x))
            hidden = F.linear(norm(block.norm2, x), block.ffn.fc1.weight, block.ffn.fc1.bias)
            x = x + F.linear(gelu(hidden), block.ffn.fc2.weight, block.ffn.fc2.bias)
            if j == 0 and isinstance(stage.peg, PEG):
                x = x + torch.stack([depthwise(stage.peg.conv, image) for image in x])
        outputs.append(norm(getattr(model, f"norm{i}"), x).permute(0, 3, 1, 2))
        x = x.permute(0, 3, 1, 2)
    return outputs


def norm(layer: nn.LayerNorm, x: Tensor, eps: float = 1e-6) -> Tensor:
    """LayerNorm over channels, with the epsilon of most of the released models' norms."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * layer.weight + layer.bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
