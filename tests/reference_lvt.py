"""LVT's formulas the slow, obvious way: the truth that the tests hold the package to."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmscalablevit.models.lvt import CSA, LVT, RASA
from tests.reference import depthwise, explicit_attention, gelu, norm

EPS = 1e-5  # PyTorch's default


def softmax(logits: Tensor) -> Tensor:
    weights = torch.exp(logits - logits.max(dim=-1, keepdim=True).values)
    return weights / weights.sum(dim=-1, keepdim=True)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def convolutional_attention(module: CSA, x: Tensor) -> Tensor:
    """CSA on an (H, W, C) map, window by window."""
    height, width, channels = x.shape
    heads, d = module.num_heads, channels // module.num_heads
    matrices = module.value.weight.reshape(9, channels, channels)
    summed = [[x.new_zeros(channels) for _ in range(width)] for _ in range(height)]
    for i in range(math.ceil(height / 2)):
        for j in range(math.ceil(width / 2)):
            mean = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(dim=(0, 1))
            logits = F.linear(mean, module.logits.weight, module.logits.bias)
            weights = softmax(logits.reshape(heads, 9, 9) * d**-0.5)
            positions = [(2 * i + dy, 2 * j + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            values = torch.stack(
                [
                    matrix @ x[row, column]
                    if 0 <= row < height and 0 <= column < width
                    else x.new_zeros(channels)
                    for matrix, (row, column) in zip(matrices, positions, strict=True)
                ]
            )
            out = torch.cat(
                [weights[head] @ values[:, head * d : (head + 1) * d] for head in range(heads)],
                dim=1,
            )
            for (row, column), result in zip(positions, out, strict=True):
                if 0 <= row < height and 0 <= column < width:
                    summed[row][column] = summed[row][column] + result
    z = torch.stack([torch.stack(row) for row in summed])
    return F.linear(z, module.proj.weight, module.proj.bias)


def reduce(module: RASA, x: Tensor) -> Tensor:
    """Keys' and values' tokens of an (H, W, C) map, flattened."""
    if isinstance(module.reduction, nn.Identity):
        return x.flatten(0, 1)
    conv, r = module.reduction.conv, module.reduction.spatial_ratio
    height, width, _ = x.shape
    cells = []
    for top in range(0, height, r):
        for left in range(0, width, r):
            cell = conv.bias
            for y in range(top, min(top + r, height)):
                for column in range(left, min(left + r, width)):
                    cell = cell + conv.weight[:, :, y - top, column - left] @ x[y, column]
            cells.append(cell)
    return norm(module.reduction.norm, torch.stack(cells), EPS)


def atrous(kernel: Tensor, x: Tensor, dilation: int) -> Tensor:
    """Depth-wise convolution of an (H, W, C) map, one shift of the map at a time."""
    height, width, channels = x.shape
    padded = x.new_zeros(height + 2 * dilation, width + 2 * dilation, channels)
    padded[dilation:-dilation, dilation:-dilation] = x
    out = x.new_zeros(height, width, channels)
    for row in range(3):
        for column in range(3):
            top, left = row * dilation, column * dilation
            part = padded[top : top + height, left : left + width]
            out = out + part * kernel[:, 0, row, column]
    return out


def one_pass(module: RASA, x: Tensor) -> Tensor:
    channels, heads = x.shape[2], module.num_heads
    q = F.linear(x, module.q.weight)
    q = sum(silu(atrous(module.atrous_kernel, q, dilation)) for dilation in (1, 3, 5))
    reduced = reduce(module, x)
    k = F.linear(reduced, module.kv.weight[:channels])
    v = F.linear(reduced, module.kv.weight[channels:])
    scale = (channels // heads) ** -0.5
    parts = zip(q.flatten(0, 1).chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True)
    z = torch.cat([explicit_attention(*part, scale, torch.zeros(())) for part in parts], dim=1)
    return F.linear(z, module.proj.weight, module.proj.bias).reshape(x.shape)


def recursive_attention(module: RASA, x: Tensor) -> Tensor:
    """RASA on an (H, W, C) map."""
    return silu(one_pass(module, silu(one_pass(module, x)) + x))


def attention(module: CSA | RASA, x: Tensor) -> Tensor:
    """Either attention on a batch, (B, H, W, C) to the same shape."""
    single = convolutional_attention if isinstance(module, CSA) else recursive_attention
    return torch.stack([single(module, image) for image in x])


def backbone(model: LVT, images: Tensor) -> list[Tensor]:
    """Outputs of an LVT in evaluation mode, for all of its stages: NCHW maps."""
    outputs = []
    x = images
    for i, stage in enumerate(model.stages):
        projection = stage.patch_embed.projection
        stride, padding = (4, 3) if i == 0 else (2, 1)
        x = F.conv2d(x, projection.weight, projection.bias, stride=stride, padding=padding)
        x = norm(stage.patch_embed.norm, x.permute(0, 2, 3, 1), EPS)
        for block in stage.blocks:
            x = x + attention(block.attn, norm(block.norm1, x, EPS))
            hidden = F.linear(norm(block.norm2, x, EPS), block.ffn.fc1.weight, block.ffn.fc1.bias)
            if isinstance(block.attn, RASA):
                hidden = torch.stack([depthwise(block.ffn.conv, image) for image in hidden])
            x = x + F.linear(gelu(hidden), block.ffn.fc2.weight, block.ffn.fc2.bias)
        outputs.append(norm(getattr(model, f"norm{i}"), x, EPS).permute(0, 3, 1, 2))
        x = x.permute(0, 3, 1, 2)
    return outputs
