"""Classification heads that MMPretrain does not have. Importing this module needs MMPretrain.

A config names it beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.heads"])
"""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor


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
