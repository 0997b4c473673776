"""Classification heads that MMPretrain does not have. Importing this module needs MMPretrain.

A config names it beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.heads"])
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmpretrain.models.heads import ClsHead, LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmscalablevit.models.layers import FFN, attend, merge_heads, split_heads
from mmscalablevit.models.pyramid import InputError
from mmscalablevit.models.token_mixing import TokenBox, swap_images


@MODELS.register_module()
class ConvClsHead(LinearClsHead):
    """STViT's head: 1x1 convolution, batch norm, SiLU, mean over the pixels, linear layer.

    It takes maps, so that no neck pools them first.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the last map.
        mid_channels: Channels of the convolution's output.
        norm_cfg: The norm after the convolution; batch norm by default.
        loss: The loss, as in every head of MMPretrain; cross entropy by default.
        topk: The k for which accuracies are computed, if ``cal_acc``.
        cal_acc: Whether to compute accuracies while training, which mixed labels do not allow.
        init_cfg: Initialisation; of the linear layer as in the released code by default.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        mid_channels: int = 1024,
        norm_cfg: dict | None = None,
        loss: dict | None = None,
        topk: int | Sequence[int] = (1,),
        cal_acc: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            mid_channels,
            init_cfg=init_cfg or {"type": "TruncNormal", "layer": "Linear", "std": 0.02},
            loss=loss or {"type": "CrossEntropyLoss", "loss_weight": 1.0},
            topk=topk,
            cal_acc=cal_acc,
        )
        self.conv = ConvModule(
            in_channels,
            mid_channels,
            kernel_size=1,
            bias=True,  # the released weights have one, before the norm as well
            norm_cfg=norm_cfg or {"type": "BN"},
            act_cfg={"type": "SiLU"},
        )

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Pool the last of the maps (B, C, H, W) to (B, mid_channels)."""
        return self.conv(feats[-1]).mean(dim=(2, 3))


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


@MODELS.register_module()
class ClassAttentionHead(ClsHead):
    """LVT's head: class attention blocks, LayerNorm, a linear layer, and one for each position.

    It takes the raw last map, without a norm and without a neck. The score of a class is its logit
    of the class token, and ``dense_score`` times the largest of its logits over the positions of
    the map, of any number.

    It learns from soft targets, ``gt_score`` (K) of the image and ``gt_dense_score`` (N, K) of the
    positions, row by row, which ``TokenLabelDataPreprocessor`` makes, with or without label maps.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the last map.
        num_heads: Heads of the class attention.
        num_layers: Class attention blocks.
        ffn_ratio: Hidden channels of their FFNs per channel.
        dense_weight: Weight of the positions' loss.
        dense_score: Weight of the positions' logits in the score. If it is 0, and ``dense_weight``
            too, there is no linear layer for positions.
        loss: The loss, of soft targets; cross entropy by default.
        init_cfg: Initialisation; the released code's by default.

    Raises:
        ValueError: ``num_heads`` does not divide ``in_channels``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 256,
        num_heads: int = 8,
        num_layers: int = 2,
        ffn_ratio: float = 4.0,
        dense_weight: float = 0.5,
        dense_score: float = 0.5,
        loss: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            loss=loss or {"type": "CrossEntropyLoss", "use_soft": True},
            init_cfg=init_cfg or {"type": "TruncNormal", "layer": "Linear", "std": 0.02},
        )
        if in_channels % num_heads:
            raise ValueError(f"in_channels {in_channels} is not divisible by num_heads {num_heads}")
        self.num_classes = num_classes
        self.dense_weight = dense_weight
        self.dense_score = dense_score
        self.cls_token = nn.Parameter(torch.empty(1, 1, in_channels))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.blocks = nn.ModuleList(
            ClassAttentionBlock(in_channels, num_heads, ffn_ratio) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(in_channels)
        self.fc = nn.Linear(in_channels, num_classes)
        self.aux_fc = nn.Linear(in_channels, num_classes) if dense_weight or dense_score else None

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

    def loss(
        self,
        feats: tuple[Tensor, ...],
        data_samples: Sequence[DataSample],
        box: TokenBox | None = None,
    ) -> dict[str, Tensor]:
        """Compare the logits with the targets.

        Args:
            feats: The maps, of which the last is taken.
            data_samples: What is known of the images.
            box: The box in which tokens of two images were exchanged. The positions' logits are
                exchanged back, to meet the targets of their own image; the class targets are mixed.

        Returns:
            ``loss_cls``, of the class token, and ``loss_dense``, of the positions if the head has
            logits of them.

        Raises:
            InputError: The samples have no targets, or of another number of classes or positions.
        """
        logits, dense = self.logits(feats)
        target = stack_targets(data_samples, "gt_score", logits.shape[1:])
        if box is not None:
            target = box.kept * target + (1 - box.kept) * target.flip(0)
        losses = {"loss_cls": self.loss_module(logits, target)}
        if dense is not None:
            dense_target = stack_targets(data_samples, "gt_dense_score", dense.shape[1:])
            if box is not None:
                inside = box.mask(box.grid, dense.device)
                dense = swap_images(inside, dense.unflatten(1, box.grid)).flatten(1, 2)
            loss = self.loss_module(dense.flatten(0, 1), dense_target.flatten(0, 1))
            losses["loss_dense"] = self.dense_weight * loss
        return losses


def stack_targets(samples: Sequence[DataSample], name: str, shape: Sequence[int]) -> Tensor:
    """Stack the soft targets of a batch.

    Args:
        samples: What is known of the images.
        name: Name of the targets.
        shape: Shape of an image's targets, which end in the classes.

    Raises:
        InputError: They are missing, or of another shape.
    """
    if any(name not in sample for sample in samples):
        raise InputError(
            f"ClassAttentionHead learns from soft targets, and the samples have no {name}: set"
            " data_preprocessor=dict(type='TokenLabelDataPreprocessor', ...)"
        )
    targets = torch.stack([sample.get(name) for sample in samples])
    if targets.shape[1:] != tuple(shape):
        raise InputError(
            f"{name} of an image has the shape {tuple(targets.shape[1:])}, the model's logits"
            f" {tuple(shape)}: set num_classes and label_size (the side of the last map, image size"
            " / 32) of the data_preprocessor to the model's"
        )
    return targets
