"""Classification heads that MMPretrain does not have. Importing this module needs MMPretrain.

A config names it beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.heads"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmpretrain.models.heads import ClsHead, LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mmscalablevit.models.class_attention import ClassAttentionScores
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


@MODELS.register_module()
class ClassAttentionHead(ClassAttentionScores, ClsHead):
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

    loss_module: Any

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
        self.dense_weight = dense_weight
        self.dense_score = dense_score
        dense = bool(dense_weight or dense_score)
        self.add_layers(num_classes, in_channels, num_heads, num_layers, ffn_ratio, dense=dense)

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
