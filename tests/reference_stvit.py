"""STViT's formulas the slow, obvious way: the truth that the tests hold the package to.

And super token attention as the released models compute it, with constant kernels of
convolutions, which is what its speed is compared with:

    python -m tests.reference_stvit
"""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmscalablevit.models.stvit import MapAttention, STViT, SuperTokenAttention
from tests.reference import depthwise, explicit_attention, gelu, norm


def map_attention(module: MapAttention, x: Tensor) -> Tensor:
    """Self-attention among all positions of an (H, W, C) map."""
    tokens = x.flatten(0, 1)
    qkv = F.linear(tokens, module.qkv.weight, module.qkv.bias)
    d = x.shape[2] // module.num_heads
    outputs = []
    for head in range(module.num_heads):
        q, k, v = qkv[:, head * 3 * d : (head + 1) * 3 * d].split(d, dim=1)
        outputs.append(explicit_attention(q, k, v, d**-0.5, torch.zeros(())))
    z = torch.cat(outputs, dim=1)
    return F.linear(z, module.proj.weight, module.proj.bias).reshape(x.shape)


def super_token_attention(module: SuperTokenAttention, x: Tensor) -> Tensor:
    """Super token attention of an (H, W, C) map, pixel by pixel."""
    height, width, channels = x.shape
    c = module.cell_size
    rows, columns = math.ceil(height / c), math.ceil(width / c)
    padded = x.new_zeros(rows * c, columns * c, channels)
    padded[:height, :width] = x
    means = {
        (i, j): padded.detach()[i * c : (i + 1) * c, j * c : (j + 1) * c].mean(dim=(0, 1))
        for i in range(rows)
        for j in range(columns)
    }
    sums = {cell: x.new_zeros(channels) for cell in means}
    totals = {cell: x.new_zeros(()) for cell in means}
    shares = {}
    for y in range(rows * c):
        for column in range(columns * c):
            pixel = padded[y, column]
            around = [(y // c + dy, column // c + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            logits = torch.stack(
                [
                    pixel.detach() @ means[cell] / math.sqrt(channels)
                    if cell in means
                    else x.new_zeros(())
                    for cell in around
                ]
            )
            weights = torch.exp(logits - logits.max())
            weights = weights / weights.sum()
            shares[y, column] = [
                (cell, weight)
                for cell, weight in zip(around, weights, strict=True)
                if cell in means
            ]
            for cell, weight in shares[y, column]:
                sums[cell] = sums[cell] + weight * pixel
                totals[cell] = totals[cell] + weight
    super_tokens = torch.stack([sums[cell] / (totals[cell] + 1e-12) for cell in means])
    refined = map_attention(module, super_tokens.reshape(rows, columns, channels))
    return torch.stack(
        [
            torch.stack(
                [
                    sum(weight * refined[cell] for cell, weight in shares[y, column])
                    for column in range(width)
                ]
            )
            for y in range(height)
        ]
    )


def attention(module: MapAttention, x: Tensor) -> Tensor:
    """Either attention on a batch, (B, H, W, C) to the same shape."""
    single = super_token_attention if isinstance(module, SuperTokenAttention) else map_attention
    return torch.stack([single(module, image) for image in x])


def batch_norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Batch norm of NHWC maps in evaluation mode."""
    scale = layer.weight / torch.sqrt(layer.running_var + 1e-5)
    return (x - layer.running_mean) * scale + layer.bias


def convolve(conv: nn.Conv2d, x: Tensor, stride: int) -> Tensor:
    """3x3 convolution, padded by 1, of NHWC maps."""
    out = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias, stride=stride, padding=1)
    return out.permute(0, 2, 3, 1)


def backbone(model: STViT, images: Tensor) -> list[Tensor]:
    """Outputs of an STViT in evaluation mode, for all of its stages: NCHW maps."""
    outputs = []
    x = images.permute(0, 2, 3, 1)
    for i, stage in enumerate(model.stages):
        layers = list(stage.patch_embed)
        if i == 0:
            for number, stride in enumerate((2, 1, 2, 1)):
                conv, _, bn = layers[3 * number : 3 * number + 3]
                x = batch_norm(bn, gelu(convolve(conv, x, stride)))
        else:
            conv, bn = layers
            x = batch_norm(bn, convolve(conv, x, 2))
        for block in stage.blocks:
            x = x + torch.stack([depthwise(block.peg.conv, image) for image in x])
            scales = [1.0 if isinstance(s, nn.Identity) else s.weight for s in block_scales(block)]
            x = x + scales[0] * attention(block.attn, norm(block.norm1, x))
            hidden = F.linear(batch_norm(block.norm2, x), block.ffn.fc1.weight, block.ffn.fc1.bias)
            hidden = gelu(hidden)
            hidden = hidden + torch.stack([depthwise(block.ffn.conv, image) for image in hidden])
            x = x + scales[1] * F.linear(hidden, block.ffn.fc2.weight, block.ffn.fc2.bias)
        output_norm = getattr(model, f"norm{i}", nn.Identity())
        normed = norm(output_norm, x) if isinstance(output_norm, nn.LayerNorm) else x
        outputs.append(normed.permute(0, 3, 1, 2))
    return outputs


def block_scales(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    return block.scale1, block.scale2


class LiteralSuperTokenAttention(nn.Module):
    """Super token attention by convolutions with constant kernels, on NCHW maps.

    Neighbors are gathered by a convolution with nine 3x3 kernels of one 1 each, and scattered by
    the transposed convolution. Linear layers are 1x1 convolutions.

    Args:
        module: The attention whose weights are taken.
    """

    def __init__(self, module: SuperTokenAttention) -> None:
        super().__init__()
        self.cell_size, self.num_heads = module.cell_size, module.num_heads
        self.qkv, self.proj = (self._convolution(layer) for layer in (module.qkv, module.proj))
        self.register_buffer("kernels", torch.eye(9).reshape(9, 1, 3, 3))

    @staticmethod
    def _convolution(linear: nn.Linear) -> nn.Conv2d:
        conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
        conv.weight.data = linear.weight.data[:, :, None, None].clone()
        conv.bias.data = linear.bias.data.clone()
        return conv

    def unfold(self, cells: Tensor) -> Tensor:
        """(B, C, h, w) to (B, h * w, C, 9)."""
        batch, channels, h, w = cells.shape
        around = F.conv2d(cells.reshape(batch * channels, 1, h, w), self.kernels, padding=1)
        return (
            around.reshape(batch, channels * 9, h * w)
            .transpose(1, 2)
            .reshape(batch, h * w, channels, 9)
        )

    def fold(self, contributions: Tensor, h: int, w: int) -> Tensor:
        """(B, h * w, C, 9) to (B, C, h, w)."""
        batch, _, channels, _ = contributions.shape
        x = contributions.permute(0, 2, 3, 1).reshape(batch * channels, 9, h, w)
        return F.conv_transpose2d(x, self.kernels, padding=1).reshape(batch, channels, h, w)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention among super tokens, (B, C, h, w)."""
        batch, channels, h, w = x.shape
        d = channels // self.num_heads
        q, k, v = self.qkv(x).reshape(batch, self.num_heads, 3 * d, h * w).chunk(3, dim=2)
        weights = (k.transpose(-1, -2) @ q * d**-0.5).softmax(dim=-2)  # keys first
        return self.proj((v @ weights).reshape(batch, channels, h, w))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        batch, channels, height, width = x.shape
        c = self.cell_size
        x = F.pad(x, (0, -width % c, 0, -height % c))
        h, w = x.shape[2] // c, x.shape[3] // c
        pixels = x.reshape(batch, channels, h, c, w, c).permute(0, 2, 4, 3, 5, 1)
        pixels = pixels.reshape(batch, h * w, c * c, channels)
        with torch.no_grad():
            around = self.unfold(F.adaptive_avg_pool2d(x, (h, w)))
            affinity = (pixels @ around * channels**-0.5).softmax(dim=-1)
            totals = self.fold(affinity.sum(dim=2).unsqueeze(2), h, w)
        sums = self.fold(pixels.transpose(-1, -2) @ affinity, h, w)
        around = self.unfold(self.attend(sums / (totals + 1e-12)))
        out = around @ affinity.transpose(-1, -2)
        out = out.reshape(batch, h, w, channels, c, c).permute(0, 3, 1, 4, 2, 5)
        return out.reshape(batch, channels, h * c, w * c)[:, :, :height, :width]


def seconds(attention: nn.Module, x: Tensor, train: bool) -> float:
    """The shortest of several runs on a map; forward alone, or with backward."""
    times = []
    for _ in range(8):
        start = time.perf_counter()
        with torch.set_grad_enabled(train):
            out = attention(x.requires_grad_(train))
            if train:
                out.sum().backward()
        times.append(time.perf_counter() - start)
    return min(times)


def measure() -> None:
    """Print the times of both forms, taken by turns, on maps of STViT's stages."""
    maps = {  # heads, cell, map
        "S, stage 1, 8 images of 224x224": (1, 8, (8, 56, 56, 64)),
        "S, stage 2, 8 images of 224x224": (2, 4, (8, 28, 28, 128)),
        "B, stage 1, 8 images of 224x224": (2, 8, (8, 56, 56, 96)),
        "B, stage 2, 8 images of 224x224": (3, 4, (8, 28, 28, 192)),
        "S, stage 1, an image of 800x1280": (1, 8, (1, 200, 320, 64)),
        "S, stage 2, an image of 800x1280": (2, 4, (1, 100, 160, 128)),
    }
    for name, (heads, cell, shape) in maps.items():
        module = SuperTokenAttention(shape[3], heads, cell)
        literal = LiteralSuperTokenAttention(module)
        x = torch.randn(shape)
        nchw = x.permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            expected = literal(nchw).permute(0, 2, 3, 1)
            deviation = float((module(x) - expected).abs().max() / expected.std())
        for train in (False, True):
            pairs = [(seconds(literal, nchw, train), seconds(module, x, train)) for _ in range(3)]
            slow, fast = (min(times) for times in zip(*pairs, strict=True))
            print(
                f"{name}, {'forward and backward' if train else 'forward'}: literal"
                f" {slow * 1e3:.1f} ms, here {fast * 1e3:.1f} ms, {slow / fast:.2f} times as fast;"
                f" deviation {deviation:.0e} of the std"
            )


if __name__ == "__main__":
    measure()
