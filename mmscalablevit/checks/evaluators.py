"""What is evaluated against what: evaluators, data sets and heads that belong together."""

from __future__ import annotations

import filecmp
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmscalablevit.checks.annotations import AnnotationFile
from mmscalablevit.checks.configs import (
    class_names,
    dataset_class,
    model_classes,
    named_datasets,
    named_evaluators,
)
from mmscalablevit.checks.failures import dicts
from mmscalablevit.checks.label_maps import decode_heads
from mmscalablevit.errors import Finding
from mmscalablevit.evaluation.selection import available_metrics, type_name


def evaluator_findings(cfg: Config, split: str) -> Iterator[Finding]:
    """Compare the evaluators of a split with its data sets and the model's heads.

    Args:
        cfg: The whole config.
        split: ``'val'`` or ``'test'``; a training has no evaluators.
    """
    if not any(named_datasets(cfg, split)):
        return
    yield from _reduced_findings(cfg, split)
    for place, evaluator in named_evaluators(cfg, split):
        kind = type_name(dict(evaluator))
        if kind in ("CocoMetric", "CocoPanopticMetric", "PanopticQuality"):
            yield from _file_findings(cfg, split, place, evaluator)
        if kind == "CocoMetric" and split == "val":  # a test may choose with --eval
            yield from _metric_findings(cfg, place, evaluator)
        if kind == "IoUMetric":
            yield from _ignored_findings(cfg, split, place, evaluator)
        if kind == "Accuracy":
            yield from _topk_findings(cfg, split, place, evaluator)


def _reduced_findings(cfg: Config, split: str) -> Iterator[Finding]:
    """Compare whether label maps lose their label 0 with whether a training's do."""
    trained = {reduced for _, reduced in _reduced(cfg, "train")}
    for place, reduced in _reduced(cfg, split) if len(trained) == 1 else ():
        if reduced not in trained:
            found = (
                f"{place}: reduce_zero_label is {reduced}, in train_dataloader {not reduced}: the"
                " labels are numbered otherwise than in training"
            )
            remedy = f"--cfg-options {place}.reduce_zero_label={not reduced}, or in its pipeline"
            yield Finding(f"{split} labels", "fail", found, remedy)


def _reduced(cfg: Config, split: str) -> Iterator[tuple[str, bool]]:
    """Tell of a split's data sets of label maps whether label 0 is taken out of these."""
    for place, dataset in named_datasets(cfg, split):
        kind = dataset_class(cfg, dataset)
        if not isinstance(kind, type) or not hasattr(kind, "get_label_map"):
            continue
        argument = inspect.signature(kind).parameters.get("reduce_zero_label")
        reduced = dataset.get("reduce_zero_label", argument.default if argument else False)
        for _, step in dicts(dataset.get("pipeline") or []):
            given = step.get("reduce_zero_label")
            reduced = reduced if given is None else given
        yield place, bool(reduced)


def _file_findings(
    cfg: Config, split: str, place: str, evaluator: Mapping[str, Any]
) -> Iterator[Finding]:
    """Compare an evaluator's annotation file with the data set's, if it is another one."""
    path, datasets = evaluator.get("ann_file") or "", list(named_datasets(cfg, split))
    if len(datasets) != 1:
        return
    _, dataset = datasets[0]
    kind = dataset_class(cfg, dataset)
    own = os.path.join(dataset.get("data_root") or "", dataset.get("ann_file") or "")
    steps = dataset.get("pipeline") or ()
    if steps and not path and not any("instances" in step.get("meta_keys", ()) for step in steps):
        found = f"{place}: {type_name(dict(evaluator))} needs an ann_file, which it compares with"
        yield Finding(f"{split} evaluator", "fail", found, f"--cfg-options {place}.ann_file={own}")
    if evaluator.get("format_only") or not os.path.isfile(path):
        return
    if not hasattr(kind, "COCOAPI") or not os.path.isfile(own) or filecmp.cmp(own, path, False):
        return
    try:
        file, reference = AnnotationFile(split, own), AnnotationFile(split, path)
        if not file.objects:  # nothing will be evaluated
            return
        names = {image["id"]: image["file_name"] for image in reference.images}
        for image in file.images:
            other = names.get(image["id"])
            if other is None or os.path.basename(other) != os.path.basename(image["file_name"]):
                there = "none" if other is None else other
                found = (
                    f"{place}.ann_file {path} is not of the images of {own}: image {image['id']} is"
                    f" {image['file_name']} there, and {there} here"
                )
                remedy = f"--cfg-options {place}.ann_file={own}"
                yield Finding(f"{split} evaluation", "fail", found, remedy)
                return
        yield from reference.category_findings(list(class_names(kind, dataset)), by_file=True)
    except (ValueError, LookupError, TypeError, AttributeError):
        return  # of the data set's own file its row says so


def _metric_findings(cfg: Config, place: str, evaluator: Mapping[str, Any]) -> Iterator[Finding]:
    """Look for metrics of what the model does not give."""
    given = evaluator.get("metric", "bbox")
    tested = {"test_evaluator": cfg.val_evaluator, "test_dataloader": cfg.val_dataloader}
    scope = {"default_scope": cfg.get("default_scope"), "model": cfg.model}
    possible = available_metrics(Config({**scope, **tested}))
    for name in [given] if isinstance(given, str) else given:
        if name not in possible and possible:
            found = f"{place}: {name} needs what {type_name(cfg.model)} does not seem to give"
            remedy = (
                f"choose from {', '.join(possible)}: --cfg-options {place}.metric={possible[0]}"
            )
            yield Finding("val evaluation", "warn", found, remedy)


def _ignored_findings(
    cfg: Config, split: str, place: str, evaluator: Mapping[str, Any]
) -> Iterator[Finding]:
    """Compare the label that an evaluator ignores with the decode head's."""
    for head_place, head in list(decode_heads(cfg.model).items())[:1]:
        ignored, counted = head.get("ignore_index", 255), evaluator.get("ignore_index", 255)
        if ignored != counted:
            found = (
                f"{place} ignores label {counted}, {head_place} label {ignored}: what is predicted"
                " for pixels of no class counts as wrong"
            )
            remedy = f"--cfg-options {place}.ignore_index={ignored}"
            yield Finding(f"{split} evaluation", "warn", found, remedy)


def _topk_findings(
    cfg: Config, split: str, place: str, evaluator: Mapping[str, Any]
) -> Iterator[Finding]:
    """Compare the most classes that an accuracy looks at with those that there are."""
    topk = evaluator.get("topk", 1)
    most = max([topk] if isinstance(topk, int) else topk)
    classes = min(model_classes(cfg.model.get("head") or {}).values(), default=most)
    if most > classes:
        found = f"{place}: the accuracy among the best {most} classes, of {classes} that there are"
        yield Finding(f"{split} evaluation", "fail", found, f"--cfg-options {place}.topk=1")
