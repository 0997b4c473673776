"""Segmentation's label maps: a partner for each image, and heads that can learn their values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmscalablevit.checks.configs import named_datasets
from mmscalablevit.errors import Finding
from mmscalablevit.evaluation.selection import type_name


def decode_heads(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The settings of a segmentor's heads, the last one that decodes first, by their places."""
    heads = {}
    for key in ("decode_head", "auxiliary_head"):
        given = model.get(key) or []
        if isinstance(given, Mapping):
            heads[f"model.{key}"] = given
        else:
            numbered = reversed(list(enumerate(given)))
            heads.update({f"model.{key}.{number}": head for number, head in numbered})
    return heads


def head_findings(cfg: Config) -> Iterator[Finding]:
    """Look for heads that learn nothing, or fail, whatever the labels are."""
    heads = {**decode_heads(cfg.model), "model.head": cfg.model.get("head") or {}}
    for place, head in heads.items():
        if head.get("num_classes") == 1 and _is_softmax(head):
            found = f"{place}: a single class with a softmax loss learns nothing: the loss is 0"
            remedy = "give all that is not of this class one of its own: num_classes=2"
            if place != "model.head":
                remedy += ", then with use_sigmoid=True in the loss and out_channels=1 if you like"
            yield Finding("train heads", "fail", found, remedy)
    yield from _padding_findings(cfg)


def _is_softmax(head: Mapping[str, Any]) -> bool:
    """Tell whether all losses of a head compare its classes with each other, as by default."""
    losses = head.get("loss_decode") or head.get("loss")
    if not losses:  # heads of several labels, or of queries, have other losses by default
        return "MultiLabel" not in type_name(dict(head)) and "loss_cls" not in head
    return all(
        type_name(dict(loss)) in ("CrossEntropyLoss", "LabelSmoothLoss")
        and not loss.get("use_sigmoid")
        for loss in ([losses] if isinstance(losses, Mapping) else losses)
    )


def _padding_findings(cfg: Config) -> Iterator[Finding]:
    """Compare the label of padded pixels with the one that heads ignore."""
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    pads = preprocessor.get("size") or preprocessor.get("size_divisor")
    if type_name(dict(preprocessor)) != "SegDataPreProcessor" or not pads:
        return
    padded = preprocessor.get("seg_pad_val", 255)
    pipelines = [dataset.get("pipeline") or [] for _, dataset in named_datasets(cfg, "train")]
    shrinks = any(
        type_name(step) == "RandomResize" and min(step.get("ratio_range") or [1]) < 1
        for pipeline in pipelines
        for step in pipeline
    )
    for place, head in decode_heads(cfg.model).items():
        ignored, classes = head.get("ignore_index", 255), head.get("num_classes")
        if padded != ignored and classes is not None and padded >= classes:
            found = (
                f"{place} ignores label {ignored}, but pixels that images are padded with get"
                f" {padded}, beyond its {classes} classes: the first padded image ends the training"
            )
            remedy = f"--cfg-options model.data_preprocessor.seg_pad_val={ignored}"
            certain = shrinks or "size_divisor" in preprocessor
            yield Finding("train heads", "fail" if certain else "warn", found, remedy)


def partner_findings(split: str, dataset: Any) -> Iterator[Finding]:
    """Look for images without label maps, and label maps without images, by their names.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: A built data set; only those that name label maps after images are examined.
    """
    folder = (getattr(dataset, "data_prefix", None) or {}).get("seg_map_path")
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    loads = any(type(step).__name__ == "LoadAnnotations" for step in steps)
    if not loads or not hasattr(dataset, "img_suffix") or not os.path.isdir(folder or ""):
        return
    expected = {dataset.get_data_info(index)["seg_map_path"] for index in range(len(dataset))}
    present = {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}
    if lacking := sorted(path for path in expected - present if not os.path.exists(path)):
        count = f"{len(lacking)} of {len(expected)}"
        found = f"{lacking[0]} does not exist: {count} images have no label map"
        remedy = (
            f"put them there, take the images out, or correct seg_map_suffix"
            f" {dataset.seg_map_suffix!r} and img_suffix {dataset.img_suffix!r}"
        )
        yield Finding(f"{split} pairs", "fail", found, remedy)
    alone = [path for path in present - expected if path.endswith(dataset.seg_map_suffix)]
    if alone and not dataset.ann_file:
        found = f"{len(alone)} of {len(present)} label maps have no image: {min(alone)}"
        remedy = f"they are left out; do all images end in img_suffix {dataset.img_suffix!r}?"
        yield Finding(f"{split} pairs", "warn", found, remedy)
