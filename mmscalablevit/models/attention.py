"""The attentions of ScalableViT and of its ablations, on channels-last maps of any size.

Paper: `ScalableViT <https://arxiv.org/abs/2203.10790>`_, sections 3.2 (SSA) and 3.3 (IWSA), and
Tables 5 and 7 for the variants.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmscalablevit.models.layers import DepthwiseConv, pad_to_multiple, to_nchw, to_nhwc
from mmscalablevit.models.windows import Size, join_windows, split_windows


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


class WSA(nn.Module):
    """Window-based self-attention, without any exchange between windows.

    softmax(q k^T / sqrt(d)) v within each window, then a linear layer. A window that the
    map's border cuts attends among the tokens it has.

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
        window_size: Side M of a window.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = 0
        self.scale = (embed_dims // num_heads) ** -0.5
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def project_windows(self, x: Tensor) -> list[tuple[Tensor, Size]]:
        """Queries, keys and values in windows.

        Args:
            x: Map (B, H, W, C).

        Returns:
            (N, h*w, 3C) and the windows' size (h, w), for each region of equal windows.
        """
        # First the cut, then the projection: x is a third of what comes out. One projection for
        # all regions, since each would take a small product of its own, and a gradient.
        parts = split_windows(x, self.window_size, self.shift)
        tokens = [part.flatten(0, 1) for part, _ in parts]
        qkv = self.qkv(tokens[0] if len(tokens) == 1 else torch.cat(tokens))
        split = qkv.split([len(part) for part in tokens])
        return [
            (part.unflatten(0, (-1, h * w)), (h, w))
            for part, (_, (h, w)) in zip(split, parts, strict=True)
        ]

    def attend_window(self, qkv: Tensor, window: Size) -> Tensor:
        """Attention within windows of one size.

        Args:
            qkv: Tokens of N windows, (N, h*w, 3C).
            window: Size (h, w) of the windows.

        Returns:
            (N, h*w, C).
        """
        q, k, v = (split_heads(part, self.num_heads) for part in qkv.chunk(3, dim=-1))
        return merge_heads(attend(q, k, v, self.scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        attended = (self.attend_window(*part) for part in self.project_windows(x))
        size = (x.shape[1], x.shape[2])
        return self.proj(join_windows(attended, size, self.window_size, self.shift))


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
        size = (x.shape[1], x.shape[2])
        parts = [
            (self.qkv(tokens), window) for tokens, window in split_windows(x, self.window_size)
        ]
        values = (qkv[..., -x.shape[-1] :] for qkv, _ in parts)
        local = self.lim(join_windows(values, size, self.window_size))
        attended = (self.attend_window(qkv, window) for qkv, window in parts)
        return self.proj(join_windows(attended, size, self.window_size, onto=local))


class WSAWithLEM(WSA):
    """WSA with a local enhancement module (LEM) in the place of LIM (Tables 5(b) and 7).

    The same depth-wise 3x3 convolution, but inside each window on its own values, with zeros
    beyond the window's border.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__(embed_dims, num_heads, window_size)
        self.lem = DepthwiseConv(embed_dims)

    def attend_window(self, qkv: Tensor, window: Size) -> Tensor:
        """See :meth:`WSA.attend_window`."""
        value = qkv[..., -qkv.shape[-1] // 3 :].unflatten(1, window)
        return super().attend_window(qkv, window) + self.lem(value).flatten(1, 2)


class SWSA(WSA):
    """Shifted-window self-attention as in Swin (Table 5(a), row "SWSA & SSA").

    Windows begin half a window from the corner, and a relative position bias is added to the
    products. The paper does not say whether its SWSA has the bias; it cites `Swin
    <https://arxiv.org/abs/2103.14030>`_, which does.
    """

    def __init__(self, embed_dims: int, num_heads: int, window_size: int = 7) -> None:
        super().__init__(embed_dims, num_heads, window_size)
        self.shift = window_size // 2
        span = 2 * window_size - 1
        self.relative_position_bias = nn.Parameter(torch.zeros(num_heads, span, span))
        nn.init.trunc_normal_(self.relative_position_bias, std=0.02)

    def position_bias(self, window: Size) -> Tensor:
        """Bias between all positions of a window of size (h, w): (heads, h*w, h*w)."""
        device = self.relative_position_bias.device
        rows, columns = (torch.arange(n, device=device) for n in window)
        last = self.window_size - 1
        dy = rows[:, None] - rows[None, :] + last
        dx = columns[:, None] - columns[None, :] + last
        # (heads, h, w, h, w): query row, query column, key row, key column
        bias = self.relative_position_bias[:, dy[:, None, :, None], dx[None, :, None, :]]
        return bias.flatten(3).flatten(1, 2)

    def attend_window(self, qkv: Tensor, window: Size) -> Tensor:
        """See :meth:`WSA.attend_window`."""
        q, k, v = (split_heads(part, self.num_heads) for part in qkv.chunk(3, dim=-1))
        bias = self.position_bias(window).to(q.dtype)
        return merge_heads(attend(q, k, v, self.scale, bias))


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
        x = pad_to_multiple(x, self.spatial_ratio)
        return F.gelu(self.norm(to_nhwc(self.pointwise(self.depthwise(to_nchw(x))))))


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
        return self.proj(merge_heads(attend(q, k, v, self.scale)).unflatten(1, size))


WINDOW_ATTENTIONS: dict[str, type[WSA]] = {
    "WSA": WSA,
    "IWSA": IWSA,
    "WSAWithLEM": WSAWithLEM,
    "SWSA": SWSA,
}
ATTENTIONS = (*WINDOW_ATTENTIONS, "SSA")
