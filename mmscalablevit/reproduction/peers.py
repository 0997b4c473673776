"""The models of other papers that the tables compare with, as OpenMMLab's packages have them.

In classification they are MMPretrain's. In detection and segmentation a peer takes the backbone's
place in one of this repository's configs, so that everything else is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.building import build_on_meta


@dataclass(frozen=True)
class Classifier:
    """A model of MMPretrain.

    Attributes:
        config: Its config, below the folder of MMPretrain's configs.
        changes: What the model has unlike that config, by dotted keys.
        side: Side of the images that it is for, where that is not the table's.
    """

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    side: int | None = None


@dataclass(frozen=True)
class Pyramid:
    """A backbone of four maps, for detectors and segmentors.

    Attributes:
        type: Class in the framework's own registry, or in that of the package before the dot.
        settings: The class's arguments.
        widths: Channels of the maps.
        type_in_mmseg: Class that MMSegmentation's models have instead.
    """

    type: str
    settings: Mapping[str, Any]
    widths: Sequence[int]
    type_in_mmseg: str | None = None


def _doubling(width: int) -> list[int]:
    return [width * 2**stage for stage in range(4)]


def _resnet(depth: int) -> Pyramid:
    # MMSegmentation's have three 3x3 convolutions as the stem.
    return Pyramid("ResNet", {"depth": depth}, _doubling(256), type_in_mmseg="ResNetV1c")


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


CLASSIFIERS = {
    "deit-b": Classifier("deit/deit-base_16xb64_in1k.py"),
    "deit-s": Classifier("deit/deit-small_4xb256_in1k.py"),
    "efficientnet-b4": Classifier("efficientnet/efficientnet-b4_8xb32_in1k.py", side=380),
    "efficientnet-b5": Classifier("efficientnet/efficientnet-b5_8xb32_in1k.py", side=456),
    "efficientnet-b6": Classifier("efficientnet/efficientnet-b6_8xb32_in1k.py", side=528),
    "swin-b": Classifier("swin_transformer/swin-base_16xb64_in1k.py"),
    "swin-s": Classifier("swin_transformer/swin-small_16xb64_in1k.py"),
    "swin-t": Classifier("swin_transformer/swin-tiny_16xb64_in1k.py"),
    "t2t-vit-14": Classifier("t2t_vit/t2t-vit-t-14_8xb64_in1k.py"),
    "t2t-vit-19": Classifier("t2t_vit/t2t-vit-t-19_8xb64_in1k.py"),
    "t2t-vit-24": Classifier("t2t_vit/t2t-vit-t-24_8xb64_in1k.py"),
    "tnt-b": Classifier(
        "tnt/tnt-s-p16_16xb64_in1k.py",
        {"model.backbone.arch": "b", "model.head.in_channels": 640},
    ),
    "tnt-s": Classifier("tnt/tnt-s-p16_16xb64_in1k.py"),
    "twins-svt-b": Classifier("twins/twins-svt-base_8xb128_in1k.py"),
    "twins-svt-l": Classifier("twins/twins-svt-large_16xb64_in1k.py"),
    "twins-svt-s": Classifier("twins/twins-svt-small_8xb128_in1k.py"),
}
PYRAMIDS = {
    "pvt-l": _pvt(3, 8, 27, 3),
    "pvt-m": _pvt(3, 4, 18, 3),
    "pvt-s": _pvt(3, 4, 6, 3),
    "resnet101": _resnet(101),
    "resnet50": _resnet(50),
    "resnext101-64x4d": Pyramid(
        "ResNeXt", {"depth": 101, "groups": 64, "base_width": 4}, _doubling(256)
    ),
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
    side = CLASSIFIERS[name].side if name in CLASSIFIERS else None
    return (side, side) if side else None


def build_peer(name: str, like: Config) -> nn.Module:
    """Build a peer, without values.

    Args:
        name: Key of the tables in this module.
        like: Config of ours whose model the peer is to replace: by its classifier, or by the
            same detector or segmentor with the peer as the backbone.

    Raises:
        UsageError: There is no such peer for this task.
    """
    if like.default_scope == "mmpretrain":
        if name in CLASSIFIERS:
            return _build_classifier(CLASSIFIERS[name])
        if name in PLAIN_CLASSIFIERS:
            pyramid = PYRAMIDS[name]
            backbone = {"type": pyramid.type, **pyramid.settings, "out_indices": (3,)}
            return PlainClassifier(build_on_meta(backbone, "mmdet"), pyramid.widths[3])
        known = [*CLASSIFIERS, *PLAIN_CLASSIFIERS]
    else:
        if name in PYRAMIDS:
            return _build_dense(PYRAMIDS[name], like)
        known = list(PYRAMIDS)
    raise UsageError(f"there is no peer {name} for this task; there are {', '.join(sorted(known))}")


def _build_classifier(peer: Classifier) -> nn.Module:
    cfg = Config.fromstring(f'_base_ = "mmpretrain::{peer.config}"\n', ".py")
    cfg.merge_from_dict(dict(peer.changes))
    return build_on_meta(cfg.model, "mmpretrain")


def _build_dense(peer: Pyramid, like: Config) -> nn.Module:
    model = like.model.to_dict()
    scope = like.default_scope
    kind = peer.type_in_mmseg if scope == "mmseg" and peer.type_in_mmseg else peer.type
    indices = model["backbone"]["out_indices"]
    model["backbone"] = {"type": kind, **peer.settings, "out_indices": indices}
    widths = [peer.widths[index] for index in indices]
    if "neck" in model:
        model["neck"]["in_channels"] = widths
    else:  # UperNet
        model["decode_head"]["in_channels"] = widths
        auxiliary = model["auxiliary_head"]
        auxiliary["in_channels"] = widths[auxiliary["in_index"]]
    return build_on_meta(model, scope)
