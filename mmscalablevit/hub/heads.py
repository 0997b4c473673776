"""The released classifiers' heads as plain modules, with the names that MMPretrain's have."""

from __future__ import annotations

from torch import Tensor, nn

from mmscalablevit.checkpoints.released import SCALABLEVIT_HEAD_DIMS, STVIT_HEAD_DIMS
from mmscalablevit.models.class_attention import ClassAttentionScores


class _Hidden(nn.Module):
    """Linear layer, LayerNorm, GELU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.fc(x)))


class _Classes(nn.Module):
    """Linear layer."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class StackedHead(nn.Module):
    """ScalableViT's: mean over the pixels, a hidden layer, a linear layer.

    Args:
        in_channels: Channels of the last map.
        num_classes: Number of classes.
    """

    classes = ("layers.1.fc",)  # layers with an output a class

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        hidden = SCALABLEVIT_HEAD_DIMS
        self.layers = nn.Sequential(_Hidden(in_channels, hidden), _Classes(hidden, num_classes))

    def pre_logits(self, x: Tensor) -> Tensor:
        """What the linear layer takes of a map (B, C, H, W)."""
        return self.layers[0](x.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes) of a map (B, C, H, W)."""
        return self.layers[1](self.pre_logits(x))


class ConvHead(nn.Module):
    """STViT's: 1x1 convolution, batch norm, SiLU, mean over the pixels, linear layer.

    Args:
        in_channels: Channels of the last map.
        num_classes: Number of classes.
    """

    classes = ("fc",)

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Sequential()
        self.conv.add_module("conv", nn.Conv2d(in_channels, STVIT_HEAD_DIMS, 1))
        self.conv.add_module("bn", nn.BatchNorm2d(STVIT_HEAD_DIMS))
        self.conv.add_module("act", nn.SiLU())
        self.fc = nn.Linear(STVIT_HEAD_DIMS, num_classes)

    def pre_logits(self, x: Tensor) -> Tensor:
        """What the linear layer takes of a map (B, C, H, W)."""
        return self.conv(x).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes) of a map (B, C, H, W)."""
        return self.fc(self.pre_logits(x))


class LinearHead(nn.Module):
    """LVT's plain one: mean over the pixels, linear layer.

    Args:
        in_channels: Channels of the last map.
        num_classes: Number of classes.
    """

    classes = ("fc",)

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def pre_logits(self, x: Tensor) -> Tensor:
        """What the linear layer takes of a map (B, C, H, W)."""
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes) of a map (B, C, H, W)."""
        return self.fc(self.pre_logits(x))


class ClassAttentionHead(ClassAttentionScores):
    """LVT's with class attention, and scores of the positions added.

    Args:
        in_channels: Channels of the last map.
        num_classes: Number of classes.
    """

    classes = ("fc", "aux_fc")

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.add_layers(num_classes, in_channels)

    def pre_logits(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The class token (B, C) of a map (B, C, H, W)."""
        return super().pre_logits((x,))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Scores (B, classes) of a map (B, C, H, W)."""
        return super().forward((x,))
