"""ScalableViT, top to bottom: window attention, IWSA, SSA, stage, model.

Paper: `ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer
<https://arxiv.org/abs/2203.10790>`_. Maps are channels-last, (B, H, W, C), and of any size.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.models.arch import Arch, check_ratios, check_whole_numbers, resolve_arch
from mmscalablevit.models.layers import (
    PEG,
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
    join_windows,
    pad_to_multiple,
    real_tokens,
    split_windows,
    unflatten,
    windows_along,
)


class WSA(nn.Module):
    """Window-based self-attention, without any exchange between windows.

    softmax(q k^T / sqrt(d)) v within each window, then a linear layer. A window that the
    map's border cuts is filled up with tokens that no other attends to.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
        window_size: Side M of a window.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.scale = (embed_dims // num_heads) ** -0.5
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def attend_windows(self, qkv: Tensor, bias: Tensor | None) -> Tensor:
        """Attention within each of N windows.

        Args:
            qkv: Queries, keys and values of the windows, (N, M*M, 3C).
            bias: Added to the products of a window's tokens, or True for those that count;
                broadcasts to (N, heads, M*M, M*M).

        Returns:
            (N, M*M, C).
        """
        q, k, v = (split_heads(part, self.num_heads) for part in qkv.chunk(3, dim=-1))
        return merge_heads(attend(q, k, v, self.scale, bias))

    def real_keys(self, x: Tensor) -> Tensor | None:
        """True for keys that are no padding, (N, 1, 1, M*M); None where all are real."""
        real = real_tokens(x, self.window_size)
        return None if real is None else real[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        # First the cut, then the projection: x is a third of what comes out.
        qkv = self.qkv(split_windows(x, self.window_size))
        attended = self.attend_windows(qkv, self.real_keys(x))
        return self.proj(join_windows(attended, self.window_size, x.shape[:3]))


class IWSA(WSA):
    """Interactive window-based self-attention (section 3.3).

    WSA, plus the local interactive module (LIM): a depth-wise 3x3 convolution over the value
    map as a whole, which carries information across the windows' borders.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__(embed_dims, num_heads, window_size)
        self.lim = DepthwiseConv(embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        size, window = x.shape[:3], self.window_size
        qkv = self.qkv(split_windows(x, window))
        local = self.lim(join_windows(qkv[..., -x.shape[-1] :], window, size))
        attended = self.attend_windows(qkv, self.real_keys(x))
        return self.proj(join_windows(attended, window, size, onto=local))


class WSAWithLEM(WSA):
    """WSA with a local enhancement module (LEM) in the place of LIM (Tables 5(b) and 7).

    The same depth-wise 3x3 convolution, but inside each window on its own values, with zeros
    beyond the window's border.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__(embed_dims, num_heads, window_size)
        self.lem = DepthwiseConv(embed_dims)

    def attend_windows(self, qkv: Tensor, bias: Tensor | None) -> Tensor:
        """See :meth:`WSA.attend_windows`."""
        value = qkv[..., -qkv.shape[-1] // 3 :]
        if bias is not None:  # the values of padding are the linear layer's bias
            value = value.masked_fill(~bias[:, 0, 0, :, None], 0)
        window = value.unflatten(1, (self.window_size, self.window_size)).transpose(1, 2)
        local = self.lem(window).transpose(1, 2).flatten(1, 2)
        return super().attend_windows(qkv, bias) + local


class SWSA(WSA):
    """Shifted-window self-attention as in Swin (Table 5(a), row "SWSA & SSA").

    Windows begin half a window from the corner, and a relative position bias is added to the
    products. What lies before the first window is a window of its own. As in Swin, an axis no
    longer than a window is one window, and the map is rolled, so that what is cut off at one
    border shares a window with the rest at the other, unseen by it. The paper does not say
    whether its SWSA has the bias; it cites `Swin <https://arxiv.org/abs/2103.14030>`_, which does.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__(embed_dims, num_heads, window_size)
        span = 2 * window_size - 1
        self.relative_position_bias = nn.Parameter(torch.zeros(num_heads, span, span))
        nn.init.trunc_normal_(self.relative_position_bias, std=0.02)

    def position_bias(self) -> Tensor:
        """Bias between all positions of a window, in column-major order: (heads, M*M, M*M)."""
        window = self.window_size
        along = torch.arange(window, device=self.relative_position_bias.device)
        offset = along[:, None] - along[None, :] + window - 1
        # (heads, M, M, M, M): query column, query row, key column, key row
        bias = self.relative_position_bias[:, offset[None, :, None, :], offset[:, None, :, None]]
        return bias.flatten(3).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        size, window = x.shape[1:3], self.window_size
        # Nothing along an axis of one window, told without a question to a symbolic size.
        down, right = (window // 2 * torch.sym_min(1, (n - 1) // window) for n in size)
        above, left = (
            torch.arange(n, device=x.device) < shift
            for n, shift in zip(size, (down, right), strict=True)
        )
        # 1 to 4: the parts that rolling brings together. 0 is padding, which sees itself alone.
        parts = 1 + above.long()[:, None] + 2 * left.long()
        parts = parts[..., None].expand(x.shape[0], -1, -1, -1)

        def cut(x: Tensor) -> Tensor:
            rolled = torch.roll(pad_to_multiple(x, window), (-down, -right), (1, 2))
            return split_windows(rolled, window)

        part = cut(parts)  # (N, M*M, 1)
        apart = (part != part.transpose(1, 2)).unsqueeze(1)
        qkv = self.qkv(cut(x))
        bias = self.position_bias().to(qkv.dtype).masked_fill(apart, -torch.inf)
        attended = self.attend_windows(qkv, bias)
        height, width = (windows_along(n, window) * window for n in size)
        whole = join_windows(attended, window, (x.shape[0], height, width))
        return self.proj(crop(torch.roll(whole, (down, right), (1, 2)), size))


class TokenReduction(nn.Module):
    """The reduced tokens of SSA: fewer by r * r, C' = C * r_c channels wide (section 3.2).

    Depth-wise r x r convolution of stride r, 1x1 convolution, LayerNorm, GELU. A border rest
    that r does not divide is covered too, with zeros outside the map.

    Args:
        in_dims: Channels C of the map.
        out_dims: Channels C' of the reduced tokens.
        spatial_ratio: Reduction r along each side.
    """

    def __init__(self, in_dims: int, out_dims: int, spatial_ratio: int) -> None:
        super().__init__()
        self.spatial_ratio = spatial_ratio
        self.depthwise = nn.Conv2d(
            in_dims, in_dims, spatial_ratio, stride=spatial_ratio, groups=in_dims
        )
        self.pointwise = nn.Conv2d(in_dims, out_dims, 1)
        # PyTorch's default epsilon, 1e-5, unlike all other norms of the released models.
        self.norm = nn.LayerNorm(out_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, ceil(H/r), ceil(W/r), C')."""
        x = to_nchw(pad_to_multiple(x, self.spatial_ratio))
        if x.is_cpu and x.requires_grad and torch.is_autocast_enabled("cpu"):
            # There the backward pass takes ten times as long in bfloat16 as in float32.
            with torch.autocast("cpu", enabled=False):
                x = self.depthwise(x.float())
        else:
            x = self.depthwise(x)
        return F.gelu(self.norm(to_nhwc(self.pointwise(x))))


class SSA(nn.Module):
    """Scalable self-attention (section 3.2).

    Every token attends to tokens that :class:`TokenReduction` makes fewer and, for queries and
    keys, wider or narrower. Without spatial reduction (r = 1, the last stage) keys and values
    come from the map itself and r_c acts on the scale alone, as in the released models.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads. Those of q and k are C' / num_heads wide, those of v C / num_heads.
        channel_ratio: r_c, with C' = int(C * r_c).
        spatial_ratio: r, the reduction along each side; r_n = 1 / r^2.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        channel_ratio: float = 1.0,
        spatial_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads * channel_ratio) ** -0.5
        self.reduction: nn.Module
        if spatial_ratio > 1:
            scaled_dims = int(embed_dims * channel_ratio)
            self.reduction = TokenReduction(embed_dims, scaled_dims, spatial_ratio)
        else:
            scaled_dims = embed_dims
            self.reduction = nn.Identity()
        self.scaled_dims = scaled_dims
        self.q = nn.Linear(embed_dims, scaled_dims)
        self.kv = nn.Linear(scaled_dims, scaled_dims + embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        size = x.shape[1:3]
        q = self.q(x).flatten(1, 2)
        kv = self.kv(self.reduction(x)).flatten(1, 2)
        k, v = kv.split([self.scaled_dims, x.shape[-1]], dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        return self.proj(unflatten(merge_heads(attend(q, k, v, self.scale)), 1, size))


WINDOW_ATTENTIONS: dict[str, type[WSA]] = {
    "WSA": WSA,
    "IWSA": IWSA,
    "WSAWithLEM": WSAWithLEM,
    "SWSA": SWSA,
}
ATTENTIONS = (*WINDOW_ATTENTIONS, "SSA")

PER_STAGE_KEYS = ("embed_dims", "depths", "num_heads", "channel_ratios", "spatial_ratios")
DEFAULTS: Arch = {"attentions": ("IWSA", "SSA"), "peg": True, "window_size": 7, "ffn_ratio": 4.0}

SMALL: Arch = {
    "embed_dims": [64, 128, 256, 512],
    "depths": [2, 2, 20, 2],
    "num_heads": [2, 4, 8, 16],
    "channel_ratios": [1.25, 1.25, 1.25, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
BASE: Arch = {
    "embed_dims": [96, 192, 384, 768],
    "depths": [2, 2, 14, 6],
    "num_heads": [3, 6, 12, 24],
    "channel_ratios": [2.0, 1.25, 1.25, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
LARGE: Arch = {
    "embed_dims": [128, 256, 512, 1024],
    "depths": [2, 6, 12, 4],
    "num_heads": [4, 8, 16, 32],
    "channel_ratios": [0.25, 0.5, 1.0, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
ARCH_ZOO = {"small": SMALL, "s": SMALL, "base": BASE, "b": BASE, "large": LARGE, "l": LARGE}


class ScalableViTStage(Stage):
    """A stage with a position encoding generator after its first block."""

    def __init__(
        self, patch_embed: nn.Module, blocks: Sequence[nn.Module], peg: nn.Module, with_cp: bool
    ) -> None:
        super().__init__(patch_embed, blocks, with_cp)
        self.peg = peg

    def run_blocks(self, x: Tensor) -> Tensor:
        """Map (B, H', W', C) to the same shape."""
        for i, block in enumerate(self.blocks):
            x = self.run_block(block, x)
            if i == 0:
                x = self.peg(x)
        return x


def check_arch(arch: Arch) -> None:
    """Check what only ScalableViT's architectures have.

    Raises:
        ValueError: A value is inconsistent; the message names its key.
    """
    attentions = arch["attentions"]
    if isinstance(attentions, str) or not isinstance(attentions, Sequence) or not attentions:
        raise ValueError(f"arch['attentions'] is a list of names, not {attentions!r}")
    for name in attentions:
        if name not in ATTENTIONS:
            raise ValueError(
                f"arch['attentions'] has an unknown name {name!r}: known are"
                f" {', '.join(ATTENTIONS)}"
            )
    if not isinstance(arch["peg"], bool):
        raise ValueError(f"arch['peg'] is True or False, not {arch['peg']!r}")
    window = arch["window_size"]
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise ValueError(f"arch['window_size'] needs a whole number above 0, not {window!r}")
    check_ratios(arch, "ffn_ratio", [arch["ffn_ratio"]] * len(arch["depths"]))
    check_whole_numbers(arch, "spatial_ratios")
    check_ratios(arch, "channel_ratios", arch["channel_ratios"])
    for stage, (dims, heads, channel_ratio) in enumerate(
        zip(arch["embed_dims"], arch["num_heads"], arch["channel_ratios"], strict=True)
    ):
        scaled = int(dims * channel_ratio)
        if scaled % heads:
            raise ValueError(
                f"arch: embed_dims {dims} times channel_ratios {channel_ratio} makes {scaled}"
                f" channels in stage {stage}, which its num_heads {heads} does not divide"
            )


@MODELS.register_module()
class ScalableViT(PyramidBackbone):
    """ScalableViT (`ECCV 2022 <https://arxiv.org/abs/2203.10790>`_).

    One class for classification, detection and segmentation: only ``out_indices`` differs.
    Images may have any size of at least 32 pixels a side; where the released code runs, the
    outputs equal those of the released models.

    Args:
        arch: ``'small'``/``'s'``, ``'base'``/``'b'``, ``'large'``/``'l'``; or a dict of what
            differs from one of these, such as ``dict(base='small', window_size=14)``; or a dict
            without base, with all lists of one entry a stage:

            - **embed_dims**: channels.
            - **depths**: number of blocks.
            - **num_heads**: attention heads.
            - **channel_ratios**: r_c of SSA, its query and key channels per channel.
            - **spatial_ratios**: r of SSA, its reduction along each side (r_n = 1 / r^2).

            and, optionally:

            - **attentions**: the attentions of a stage's blocks, repeated in this order:
              ``'IWSA'``, ``'SSA'``, and for the paper's ablations ``'WSA'``,
              ``'WSAWithLEM'``, ``'SWSA'``. Default ``('IWSA', 'SSA')``.
            - **peg**: whether stages have a position encoding generator. Default True.
            - **window_size**: side of a window. Default 7.
            - **ffn_ratio**: hidden channels of the FFN per channel. Default 4.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Stages whose outputs are returned, from 0.
        frozen_stages: Stages 0 to this one are frozen; -1 for none.
        with_cp: Recompute the blocks' activations in the backward pass to save memory.
        init_cfg: Initialisation by MMEngine's rules, on top of the released code's own.
            ``dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')`` loads ImageNet
            weights.
        pretrained: None, as configs of MMSegmentation may say; weights are ``init_cfg``'s.

    Raises:
        ValueError: An argument is unknown, out of range or inconsistent; the message names it.

    Examples:
        >>> model = ScalableViT('small', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 200, 316))]
        [(1, 64, 50, 79), (1, 128, 25, 40), (1, 256, 13, 20), (1, 512, 7, 10)]
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "small",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (3,),
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        pretrained: None = None,
    ) -> None:
        settings = resolve_arch(arch, ARCH_ZOO, DEFAULTS, PER_STAGE_KEYS)
        check_arch(settings)
        super().__init__(
            functools.partial(build_stage, settings, with_cp=with_cp),
            arch=settings,
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            norm_eps=1e-6,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
            pretrained=pretrained,
        )
        self.apply(init_layer)


def build_stage(
    arch: Arch, stage: int, in_channels: int, drop_paths: list[float], *, with_cp: bool
) -> ScalableViTStage:
    """Build one stage, its attentions in turn."""
    dims, heads = arch["embed_dims"][stage], arch["num_heads"][stage]
    blocks = []
    for j, drop_path in enumerate(drop_paths):
        name = arch["attentions"][j % len(arch["attentions"])]
        attn: nn.Module
        if name == "SSA":
            attn = SSA(dims, heads, arch["channel_ratios"][stage], arch["spatial_ratios"][stage])
        else:
            attn = WINDOW_ATTENTIONS[name](dims, heads, arch["window_size"])
        blocks.append(Block(attn, dims, arch["ffn_ratio"], drop_path))
    kernel_size, stride = (7, 4) if stage == 0 else (3, 2)
    patch_embed = PatchEmbed(in_channels, dims, kernel_size, stride)
    peg = PEG(dims) if arch["peg"] else nn.Identity()
    return ScalableViTStage(patch_embed, blocks, peg, with_cp)
