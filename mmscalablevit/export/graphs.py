"""What of a model becomes a graph, and where its outputs go in the model.

A graph takes normalized images (B, 3, H, W), as the model's ``data_preprocessor`` gives them, and
gives what the heads compute. What the frameworks make of that (boxes, masks, results at the images'
own size) depends on the data: it stays theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmscalablevit.errors import UsageError

# Names of tensors in lists, tuples and dicts, as the heads nest them.
Names = Any


@dataclass(frozen=True)
class Plan:
    """What of a kind of model becomes a graph.

    Attributes:
        task: What the model does, for people.
        compute: Gives what the heads of a model, by their names, compute from images. What is of
            no head, for those that read it themselves, has the name of no part of the model.
        answer: What a head's ``forward`` returns, made of what was computed for it.
    """

    task: str
    compute: Callable[[Any, Tensor], dict[str, Any]]
    answer: Callable[[Any], Any] = lambda outputs: outputs


def _classify(model: Any, images: Tensor) -> dict[str, Any]:
    return {"head": {"scores": model.head(model.extract_feat(images)).softmax(dim=1)}}


def _segment(model: Any, images: Tensor) -> dict[str, Any]:
    metas = [{"img_shape": images.shape[2:], "pad_shape": images.shape[2:]}]
    head = model.decode_head
    logits = head.predict_by_feat(head(model.extract_feat(images)), metas)
    return {"decode_head": {"logits": logits, "labels": logits.argmax(dim=1)}}


def _detect(model: Any, images: Tensor) -> dict[str, Any]:
    return {"bbox_head": model.bbox_head(model.extract_feat(images))}


def _propose(model: Any, images: Tensor) -> dict[str, Any]:
    features = model.extract_feat(images)
    outputs = {"features": features, "rpn_head": model.rpn_head(features)}
    if hasattr(model, "semantic_head"):  # of Panoptic FPN
        outputs["semantic_head"] = model.semantic_head(features)
    return outputs


def plan(model: Any) -> Plan:
    """Choose what of a model becomes a graph.

    Raises:
        UsageError: The model is of a kind whose heads compute otherwise than by a ``forward`` that
            takes maps, and what depends on the data behind it.
    """
    head: Any
    if hasattr(model, "decode_head"):
        from mmseg.models import EncoderDecoder
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead

        head = model.decode_head
        if (
            type(model).predict is EncoderDecoder.predict
            and type(model).encode_decode is EncoderDecoder.encode_decode
            and getattr(type(head), "predict", None) is BaseDecodeHead.predict
            and head.out_channels > 1
        ):
            return Plan("segmentation", _segment, lambda outputs: outputs["logits"])
    elif hasattr(model, "rpn_head"):
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        from mmdet.models.detectors import TwoStageDetector
        from mmdet.models.detectors.panoptic_two_stage_segmentor import TwoStagePanopticSegmentor

        known = (TwoStageDetector.predict, TwoStagePanopticSegmentor.predict)
        if type(model).predict in known and type(model.rpn_head).predict is BaseDenseHead.predict:
            return Plan("two-stage detection", _propose)
    elif hasattr(model, "bbox_head"):
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        from mmdet.models.detectors import SingleStageDetector

        if (
            type(model).predict is SingleStageDetector.predict
            and type(model.bbox_head).predict is BaseDenseHead.predict
        ):
            return Plan("detection", _detect)
    elif hasattr(model, "head"):
        from mmpretrain.models import ImageClassifier
        from mmpretrain.models.heads import ClsHead

        if (
            type(model).predict is ImageClassifier.predict
            and type(model.head).predict is ClsHead.predict
        ):
            # Its `predict` applies softmax, which undoes this logarithm.
            return Plan("classification", _classify, lambda outputs: outputs["scores"].log())
    raise UsageError(
        f"{type(model).__name__} cannot be exported: classifiers with one label an image can,"
        " segmentors of the kind EncoderDecoder with two classes or more, and detectors with dense"
        " heads, of one stage or two"
    )


class Graph(nn.Module):
    """A model's graph in PyTorch: images in, a flat dict of tensors out.

    Args:
        model: A model of one of the frameworks, in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.plan = plan(model)

    @torch.no_grad()
    def nested(self, images: Tensor) -> dict[str, Any]:
        """What the heads compute, by their names."""
        return self.plan.compute(self.model, images)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalized images (B, 3, H, W) to tensors by their names in the file."""
        return dict(_flat(self.nested(images)))


def _children(value: Any, name: str) -> list[tuple[str, Any]]:
    """The parts of something nested, with their names: those that they have, or numbered ones."""
    if isinstance(value, Mapping):
        return list(value.items())
    return [(f"{name}_{number}", child) for number, child in enumerate(value)]


def _flat(value: Any, name: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    return [pair for place, child in _children(value, name) for pair in _flat(child, place)]


def names_of(value: Any, name: str = "") -> Names:
    """Put names in the place of tensors, those that they have in a graph."""
    if isinstance(value, Tensor):
        return name
    names = [names_of(child, place) for place, child in _children(value, name)]
    return dict(zip(value, names, strict=True)) if isinstance(value, Mapping) else names


def named(names: Names, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`names_of`."""
    if isinstance(names, str):
        return tensors[names]
    if isinstance(names, Mapping):
        return {key: named(value, tensors) for key, value in names.items()}
    return [named(value, tensors) for value in names]


class _ExportedBackbone(nn.Module):
    """Runs a graph where a model has its backbone, and keeps the outputs for the heads."""

    def __init__(self, run: Callable[[Tensor], Mapping[str, Tensor]], names: Names) -> None:
        super().__init__()
        self.run, self.names = run, names
        self.outputs: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Any:
        """Map images to the features that are among the outputs, or to nothing."""
        outputs = self.run(images.cpu())  # on a GPU are the heads behind it
        moved = {name: output.to(images.device) for name, output in outputs.items()}
        self.outputs = named(self.names, moved)
        return self.outputs.get("features", ())


def attach(model: Any, run: Callable[[Tensor], Mapping[str, Tensor]], names: Names) -> None:
    """Let a model get from elsewhere what its graph computes, in place.

    What remains of its weights are those of parts that are in no graph.

    Args:
        model: The model that :class:`Graph` was made of, or one of the same settings.
        run: Maps images to the graph's outputs by their names.
        names: The outputs' names by the heads, as by :func:`names_of`.
    """
    chosen = plan(model)
    model.backbone = backbone = _ExportedBackbone(run, names)
    for part in ("neck", "auxiliary_head"):
        if hasattr(model, part):
            delattr(model, part)
    for part in names:
        if part == "features":
            continue
        head = getattr(model, part)
        for name, child in list(head.named_children()):
            if next(child.parameters(), None) is not None:
                delattr(head, name)
        for name, _ in list(head.named_parameters(recurse=False)):
            delattr(head, name)

        def forward(_features: Any, part: str = part) -> Any:
            return chosen.answer(backbone.outputs[part])

        head.forward = forward
