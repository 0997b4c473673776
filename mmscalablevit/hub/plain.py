"""Classifiers and feature extractors as plain PyTorch modules, in the manner of timm."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mmscalablevit.checkpoints.entries import LISTED, compare
from mmscalablevit.checkpoints.filling import read_checkpoint
from mmscalablevit.errors import listed_below
from mmscalablevit.hub import heads
from mmscalablevit.models import LVT, ScalableViT, STViT
from mmscalablevit.models.pyramid import PyramidBackbone

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError:
    from mmscalablevit.hub.without import PyTorchModelHubMixin


@dataclass(frozen=True)
class _Model:
    backbone: type[PyramidBackbone]
    head: type[nn.Module]
    settings: Mapping[str, Any] = field(default_factory=dict)


_MODELS = {
    **{f"scalablevit_{a}": _Model(ScalableViT, heads.StackedHead, {"arch": a})
       for a in ("small", "base", "large")},
    **{f"stvit_{a}": _Model(STViT, heads.ConvHead, {"arch": a})
       for a in ("small", "base", "large")},
    "lvt": _Model(LVT, heads.LinearHead),
    "lvt_ca": _Model(LVT, heads.ClassAttentionHead, {"output_norms": False}),
}  # fmt: skip

_CARD = """---
{{ card_data }}
---

An image classifier of mmscalablevit (ScalableViT, STViT and LVT for PyTorch and OpenMMLab).

```python
import mmscalablevit

model = mmscalablevit.Classifier.from_pretrained(REPOSITORY)
```

`config.json` has the name of the model and its number of classes. Papers:
[ScalableViT](https://arxiv.org/abs/2203.10790), [STViT](https://arxiv.org/abs/2211.11167),
[LVT](https://arxiv.org/abs/2112.10809).
"""


class FeatureInfo(list[dict[str, Any]]):
    """What the maps of a model are: channels, stride and module of each, as in timm."""

    def channels(self) -> list[int]:
        """Channels of each map."""
        return [info["num_chs"] for info in self]

    def reduction(self) -> list[int]:
        """Stride of each map: pixels of the image per pixel."""
        return [info["reduction"] for info in self]

    def module_name(self) -> list[str]:
        """Name of the module that each map comes from."""
        return [info["module"] for info in self]


def _feature_info(backbone: PyramidBackbone, prefix: str, stages: Sequence[int]) -> FeatureInfo:
    return FeatureInfo(
        {
            "num_chs": backbone.embed_dims[i],
            "reduction": 4 * 2**i,
            "module": f"{prefix}stages.{i}",
        }
        for i in stages
    )


class Classifier(  # type: ignore[call-arg]
    nn.Module,
    PyTorchModelHubMixin,
    library_name="mmscalablevit",
    license="apache-2.0",
    pipeline_tag="image-classification",
    model_card_template=_CARD,
):
    """A released classifier.

    Its entries have the names of MMPretrain's, so that either takes the other's checkpoints. With
    huggingface_hub it has ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    Args:
        name: One of :func:`list_models`.
        num_classes: Number of classes; 0 for the features that the last layer would take.
        drop_path_rate: Stochastic depth of the last block.

    Attributes:
        num_features: Channels of the last map.
        feature_info: What the map of each stage is.

    Raises:
        ValueError: There is no model of this name.
    """

    def __init__(self, name: str, num_classes: int = 1000, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        model = _find(name)
        self.backbone = model.backbone(**model.settings, drop_path_rate=drop_path_rate)
        self.num_features = self.backbone.embed_dims[-1]
        self.feature_info = _feature_info(self.backbone, "backbone.", range(4))
        self.head: Any = model.head(self.num_features, max(num_classes, 1))
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Make the layers anew that have an output a class; 0 leaves them out."""
        if num_classes < 0:
            raise ValueError(f"num_classes {num_classes}: takes a number from 0 on")
        self.num_classes = num_classes
        for name in self.head.classes if num_classes else ():
            parent, _, child = name.rpartition(".")
            old: Any = self.head.get_submodule(name)
            layer = nn.Linear(old.in_features, num_classes).to(old.weight)
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
            setattr(self.head.get_submodule(parent), child, layer)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map (B, num_features, H/32, W/32) of images (B, 3, H, W)."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Scores (B, num_classes) of the last map, or what the last layer takes."""
        return self.head.pre_logits(x) if pre_logits or not self.num_classes else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, num_classes) of images (B, 3, H, W), H and W at least 32."""
        return self.forward_head(self.forward_features(x))

    def load_checkpoint(self, path: str) -> None:
        """Take the weights of a file: a released one, MMPretrain's, or safetensors.

        The layers with an output a class start anew if the file's have another number of them.

        Raises:
            FileNotFoundError: There is no such file.
            CheckpointError: It cannot be used.
            ValueError: It does not fill the model; the message lists what differs.
        """
        wanted = self.state_dict()
        given = read_checkpoint(path).weights(wanted)
        missing, reshaped, _ = compare(wanted, given)
        classes = tuple(f"head.{name}." for name in self.head.classes)
        problems = [name for name in missing if not name.endswith("num_batches_tracked")]
        problems += [name for name in reshaped if not name.startswith(classes)]
        if problems:
            raise ValueError(
                f"{path} does not fill {type(self.backbone).__name__} and its head; it lacks, or"
                f" has in another shape:{listed_below(problems, LISTED)}"
            )
        fitting = {name: given[name] for name in wanted if name not in {*missing, *reshaped}}
        self.load_state_dict(fitting, strict=False)


class FeatureExtractor(nn.Module):
    """Maps of several strides.

    Args:
        name: One of :func:`list_models`.
        out_indices: Stages, from 0 to 3.
        checkpoint: A released file, or one of a classifier.

    Attributes:
        feature_info: What each map is.

    Raises:
        ValueError: There is no model of this name, or no such stage, or the file does not fit.
    """

    def __init__(
        self, name: str, out_indices: Sequence[int] = (0, 1, 2, 3), checkpoint: str | None = None
    ) -> None:
        super().__init__()
        model = _find(name)
        init_cfg = {"type": "Pretrained", "checkpoint": checkpoint, "prefix": "backbone."}
        self.backbone = model.backbone(
            **model.settings, out_indices=out_indices, init_cfg=init_cfg if checkpoint else None
        )
        for filling in self.backbone.read_pretrained():
            self.backbone.load_state_dict(filling.weights, strict=False)
        self.feature_info = _feature_info(self.backbone, "backbone.", self.backbone.out_indices)

    def forward(self, x: Tensor) -> list[Tensor]:
        """One map (B, C, H, W) a stage of images (B, 3, H, W)."""
        return list(self.backbone(x))


def _find(name: str) -> _Model:
    if name not in _MODELS:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(_MODELS)}")
    return _MODELS[name]


def list_models(pattern: str = "*") -> list[str]:
    """The names that :func:`create_model` takes, such as those of ``'stvit*'``."""
    return fnmatch.filter(_MODELS, pattern)


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    checkpoint: str | None = None,
    drop_path_rate: float = 0.0,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> Classifier | FeatureExtractor:
    """Build a released model as a plain module.

    Args:
        name: One of :func:`list_models`.
        num_classes: Number of classes; 0 for the features before the last layer.
        checkpoint: Weights: a released file as it is, MMPretrain's checkpoint, safetensors.
        drop_path_rate: Stochastic depth of the last block.
        features_only: Give the maps of several stages instead.
        out_indices: The stages, for ``features_only``.

    Raises:
        ValueError: There is no such model, or the file does not fill it.
        FileNotFoundError: There is no such file.
    """
    if features_only:
        return FeatureExtractor(name, out_indices, checkpoint)
    model = Classifier(name, num_classes, drop_path_rate)
    if checkpoint:
        model.load_checkpoint(checkpoint)
    return model
