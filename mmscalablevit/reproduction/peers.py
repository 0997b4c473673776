"""The models of other papers that the tables compare with, as OpenMMLab's packages have them.

In classification they are MMPretrain's. In detection and segmentation a peer takes the backbone's
place in one of this repository's configs, so that everything else is the same. Models are built
without values: shapes are all that a count needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmscalablevit.cli.building import build_model
from mmscalablevit.errors import UsageError

# Classifiers: configs below the folder of MMPretrain's configs.
CLASSIFIERS = {
    "deit-b": "deit/deit-base_16xb64_in1k.py",
    "deit-s": "deit/deit-small_4xb256_in1k.py",
    "efficientnet-b4": "efficientnet/efficientnet-b4_8xb32_in1k.py",
    "efficientnet-b5": "efficientnet/efficientnet-b5_8xb32_in1k.py",
    "efficientnet-b6": "efficientnet/efficientnet-b6_8xb32_in1k.py",
    "swin-b": "swin_transformer/swin-base_16xb64_in1k.py",
    "swin-s": "swin_transformer/swin-small_16xb64_in1k.py",
    "swin-t": "swin_transformer/swin-tiny_16xb64_in1k.py",
    "t2t-vit-14": "t2t_vit/t2t-vit-t-14_8xb64_in1k.py",
    "t2t-vit-19": "t2t_vit/t2t-vit-t-19_8xb64_in1k.py",
    "t2t-vit-24": "t2t_vit/t2t-vit-t-24_8xb64_in1k.py",
    "tnt-b": "tnt/tnt-s-p16_16xb64_in1k.py",
    "tnt-s": "tnt/tnt-s-p16_16xb64_in1k.py",
    "twins-svt-b": "twins/twins-svt-base_8xb128_in1k.py",
    "twins-svt-l": "twins/twins-svt-large_16xb64_in1k.py",
    "twins-svt-s": "twins/twins-svt-small_8xb128_in1k.py",
}
# What a classifier has unlike its config, and the side of its images where that is not the table's.
_CHANGES = {"tnt-b": {"model.backbone.arch": "b", "model.head.in_channels": 640}}
_SIDES = {"efficientnet-b4": 380, "efficientnet-b5": 456, "efficientnet-b6": 528}


@dataclass(frozen=True)
class Pyramid:
    """A backbone of four maps, for detectors and segmentors."""

    type: str  # in the framework's own registry, or in that of the package before the dot
    settings: Mapping[str, Any]
    widths: Sequence[int]


def _doubling(width: int) -> list[int]:
    return [width * 2**stage for stage in range(4)]


def _pvt(*depths: int) -> Pyramid:
    return Pyramid("mmdet.PyramidVisionTransformer", {"num_layers": depths}, (64, 128, 320, 512))


def _swin(width: int, depth: int, heads: int) -> Pyramid:
    depths = (2, 2, depth, 2)
    settings = {"embed_dims": width, "depths": depths, "num_heads": _doubling(heads)}
    return Pyramid("SwinTransformer", settings, _doubling(width))


def _twins(width: int, *depths: int) -> Pyramid:
    settings = {
        "embed_dims": _doubling(width),
        "num_heads": _doubling(width // 32),
        "mlp_ratios": (4, 4, 4, 4),
        "depths": depths,
        "sr_ratios": (8, 4, 2, 1),
        "windiow_sizes": (7, 7, 7, 7),  # MMSegmentation's spelling
        "qkv_bias": True,
        "norm_after_stage": True,
    }
    return Pyramid("mmseg.SVT", settings, _doubling(width))


_RESNEXT = {"depth": 101, "groups": 64, "base_width": 4}
PYRAMIDS = {
    "pvt-l": _pvt(3, 8, 27, 3),
    "pvt-m": _pvt(3, 4, 18, 3),
    "pvt-s": _pvt(3, 4, 6, 3),
    "resnet101": Pyramid("ResNet", {"depth": 101}, _doubling(256)),
    "resnet50": Pyramid("ResNet", {"depth": 50}, _doubling(256)),
    "resnext101-64x4d": Pyramid("ResNeXt", _RESNEXT, _doubling(256)),
    "swin-b": _swin(128, 18, 4),
    "swin-s": _swin(96, 18, 3),
    "swin-t": _swin(96, 6, 3),
    "twins-svt-b": _twins(96, 2, 2, 18, 2),
    "twins-svt-l": _twins(128, 2, 2, 18, 2),
    "twins-svt-s": _twins(64, 2, 2, 10, 4),
}
# MMPretrain lacks these; their classifier is the pyramid with a norm and a linear layer.
PLAIN_CLASSIFIERS = ("pvt-s", "pvt-m", "pvt-l")


class PlainClassifier(nn.Module):
    """A pyramid's last map, normed, averaged and classified by a linear layer.

    PVT's own classifier adds one class token to the last stage's tokens and takes it for the mean.
    """

    def __init__(self, backbone: nn.Module, width: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(width, device="meta")
        self.head = nn.Linear(width, num_classes, device="meta")

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, classes)."""
        last = self.backbone(images)[-1]
        return self.head(self.norm(last.flatten(2).transpose(1, 2)).mean(1))


def own_size(name: str) -> tuple[int, int] | None:
    """Return the height and width of the images that a peer is for, or None for the table's."""
    return (_SIDES[name], _SIDES[name]) if name in _SIDES else None


def build_peer(name: str, like: Config) -> nn.Module:
    """Build a peer, without values.

    It replaces the model of a config of ours: by its classifier, or by the same detector or
    segmentor with the peer as the backbone.

    Raises:
        UsageError: There is no such peer for this task.
    """
    scope = like.default_scope
    known = [*CLASSIFIERS, *PLAIN_CLASSIFIERS] if scope == "mmpretrain" else [*PYRAMIDS]
    if name not in known:
        names = ", ".join(sorted(known))
        raise UsageError(f"there is no peer {name} for this task; there are {names}")
    if scope != "mmpretrain":
        return build_on_meta(_with_backbone(like, PYRAMIDS[name]), scope)
    if name in PLAIN_CLASSIFIERS:
        pyramid = PYRAMIDS[name]
        backbone = {"type": pyramid.type, **pyramid.settings, "out_indices": (3,)}
        return PlainClassifier(build_on_meta(backbone, "mmdet"), pyramid.widths[3])
    cfg = Config.fromstring(f'_base_ = "mmpretrain::{CLASSIFIERS[name]}"\n', ".py")
    cfg.merge_from_dict(_CHANGES.get(name, {}))
    return build_on_meta(cfg.model, scope)


def _with_backbone(like: Config, peer: Pyramid) -> dict[str, Any]:
    """A detector's or segmentor's settings with another backbone."""
    model = like.model.to_dict()
    kind = peer.type
    if (kind, like.default_scope) == ("ResNet", "mmseg"):
        kind = "ResNetV1c"  # MMSegmentation's have three 3x3 convolutions as the stem
    indices = model["backbone"]["out_indices"]
    model["backbone"] = {"type": kind, **peer.settings, "out_indices": indices}
    widths = [peer.widths[index] for index in indices]
    if "neck" in model:
        model["neck"]["in_channels"] = widths
    else:  # UperNet
        model["decode_head"]["in_channels"] = widths
        auxiliary = model["auxiliary_head"]
        auxiliary["in_channels"] = widths[auxiliary["in_index"]]
    return model


class _ScalarsOnCPU(TorchFunctionMode):
    """Keep the rates of stochastic depth, which are read as numbers, away from the meta device."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        cpu = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**cpu, **(kwargs or {})})


def build_on_meta(model: Mapping[str, Any], scope: str) -> nn.Module:
    """Build a model of MMPretrain, MMDetection or MMSegmentation on PyTorch's meta device."""
    settings = dict(model)
    if scope == "mmpretrain":  # its preprocessor of images would report on the batch augmentation
        settings.update(data_preprocessor=None, train_cfg=None)
    cfg = Config({"model": settings, "default_scope": scope})
    with (
        DefaultScope.overwrite_default_scope(scope),  # the next model may be of another framework
        torch.device("meta"),
        _ScalarsOnCPU(),
        warnings.catch_warnings(),
    ):
        # MMSegmentation has remarks on losses, which nobody runs here.
        warnings.simplefilter("ignore", UserWarning)
        return build_model(cfg, pretrained=False, initialize=False)
