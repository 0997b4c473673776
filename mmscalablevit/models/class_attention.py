"""LVT's class attention, without a framework."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmscalablevit.models.layers import FFN, attend, merge_heads, split_heads


class ClassAttention(nn.Module):
    """Attention of the class token over itself and the tokens of the map (CaiT, VOLO).

    Args:
        embed_dims: Channels C of input and output.
        num_heads: Heads; each is C / num_heads wide.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.q = nn.Linear(embed_dims, embed_dims, bias=False)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims, bias=False)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend from the first of the tokens (B, 1+N, C) to all, for a (B, 1, C)."""
        k, v = self.kv(tokens).chunk(2, dim=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (self.q(tokens[:, :1]), k, v))
        return self.proj(merge_heads(attend(q, k, v, self.scale)))


class ClassAttentionBlock(nn.Module):
    """Pre-norm block that changes the class token alone.

    Args:
        embed_dims: Channels C.
        num_heads: Heads of the attention.
        ffn_ratio: Hidden channels of the FFN per channel.
    """

    def __init__(self, embed_dims: int, num_heads: int, ffn_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = ClassAttention(embed_dims, num_heads)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.ffn = FFN(embed_dims, ffn_ratio)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map the class token and those of the map, (B, 1+N, C), to the same shape."""
        cls_token = tokens[:, :1] + self.attn(self.norm1(tokens))
        cls_token = cls_token + self.ffn(self.norm2(cls_token))
        return torch.cat((cls_token, tokens[:, 1:]), dim=1)


class ClassAttentionScores(nn.Module):
    """Scores of classes from a raw last map: class attention blocks, LayerNorm, linear layers.

    The score of a class is its logit of the class token, and ``dense_score`` times the largest of
    its logits over the positions of the map, of any number.
    """

    dense_score = 0.5

    def add_layers(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int = 8,
        num_layers: int = 2,
        ffn_ratio: float = 4.0,
        dense: bool = True,
    ) -> None:
        """Make the layers.

        Args:
            num_classes: Number of classes K.
            in_channels: Channels C of the last map.
            num_heads: Heads of the class attention.
            num_layers: Class attention blocks.
            ffn_ratio: Hidden channels of their FFNs per channel.
            dense: Whether there is a linear layer for positions.

        Raises:
            ValueError: ``num_heads`` does not divide ``in_channels``.
        """
        if in_channels % num_heads:
            raise ValueError(f"in_channels {in_channels} is not divisible by num_heads {num_heads}")
        self.num_classes = num_classes
        self.cls_token = nn.Parameter(torch.empty(1, 1, in_channels))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.blocks = nn.ModuleList(
            ClassAttentionBlock(in_channels, num_heads, ffn_ratio) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)
        self.aux_fc = nn.Linear(in_channels, num_classes) if dense else None

    def normed_tokens(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The class token and those of the last map (B, C, h, w), normed: (B, 1+hw, C)."""
        tokens = feats[-1].flatten(2).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The class token that the linear layer takes, (B, C)."""
        return self.normed_tokens(feats)[:, 0]

    def logits(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        """Logits of the class token (B, K), and of the map's positions (B, hw, K) if there are."""
        tokens = self.normed_tokens(feats)
        dense = None if self.aux_fc is None else self.aux_fc(tokens[:, 1:])
        return self.fc(tokens[:, 0]), dense

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Scores of the classes, (B, K)."""
        scores, dense = self.logits(feats)
        return scores if dense is None else scores + self.dense_score * dense.amax(dim=1)
