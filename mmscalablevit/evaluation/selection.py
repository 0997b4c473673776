"""Choosing what a test computes by the names that people know: ``bbox``, ``mIoU``, ..."""

from __future__ import annotations

import copy
import difflib
import os.path
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from mmscalablevit.errors import UsageError

# Each name with the evaluators that compute it. The first is built where the config has none.
EVALUATORS: dict[str, tuple[str, ...]] = {
    "accuracy": ("Accuracy",),
    "bbox": ("CocoMetric", "LVISMetric"),
    "segm": ("CocoMetric", "LVISMetric"),
    "proposal": ("CocoMetric", "LVISMetric"),
    "PQ": ("CocoPanopticMetric", "PanopticQuality"),
    "mIoU": ("IoUMetric",),
    "mDice": ("IoUMetric",),
    "mFscore": ("IoUMetric",),
}

# The argument by which an evaluator takes the names; the others compute one thing only.
NAMES_ARGUMENT = {"CocoMetric": "metric", "LVISMetric": "metric", "IoUMetric": "iou_metrics"}


def type_name(cfg: dict) -> str:
    """Return the bare class name of a config entry: ``mmdet.CocoMetric`` is ``CocoMetric``."""
    kind = cfg.get("type", "")
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__


def list_evaluators(cfg: Config) -> list[ConfigDict]:
    """Return the config's test evaluators as a list, also where it gives a single one."""
    evaluators = cfg.get("test_evaluator") or []
    return list(evaluators) if isinstance(evaluators, Sequence) else [evaluators]


def placed_datasets(dataset: ConfigDict, place: str) -> Iterator[tuple[str, ConfigDict]]:
    """Walk through the data sets inside wrappers such as ``RepeatDataset`` and ``ConcatDataset``.

    Args:
        dataset: Settings of a data set.
        place: Where they are in the config, as ``--cfg-options`` takes it.

    Yields:
        The place and the settings of each.
    """
    if "dataset" in dataset:
        yield from placed_datasets(dataset.dataset, f"{place}.dataset")
    elif "datasets" in dataset:
        for number, part in enumerate(dataset.datasets):
            yield from placed_datasets(part, f"{place}.datasets.{number}")
    else:
        yield place, dataset


def innermost_datasets(dataset: ConfigDict) -> list[ConfigDict]:
    """Return the settings of the data sets inside wrappers."""
    return [inner for _, inner in placed_datasets(dataset, "")]


def available_metrics(cfg: Config) -> list[str]:
    """List the names that the config's task has."""
    scope, model = cfg.get("default_scope"), cfg.model
    kind = type_name(model)
    if scope == "mmpretrain":
        head = type_name(model.get("head") or {})
        single_label = "MultiLabel" not in head and "MultiTask" not in head
        return ["accuracy"] if kind.endswith("Classifier") and single_label else []
    if scope == "mmseg":
        return ["mIoU", "mDice", "mFscore"]
    if scope != "mmdet":
        return []
    if kind == "RPN":
        return ["proposal"]
    instances = ["bbox", "segm", "proposal"] if _has_masks(model) else ["bbox", "proposal"]
    if "panoptic_fusion_head" not in model:
        return instances
    # A panoptic model gives boxes and masks only where it is told to.
    return ["PQ", *instances] if _gives_instances(cfg) else ["PQ"]


def _has_masks(model: ConfigDict) -> bool:
    """Tell whether a detector predicts instance masks."""
    return (
        "mask_head" in model
        or "mask_head" in (model.get("roi_head") or {})
        or "panoptic_head" in model
        or "Ins" in type_name(model.get("bbox_head") or {})  # RTMDet-Ins
    )


def _gives_instances(cfg: Config) -> bool:
    """Tell whether a panoptic model also gives single instances."""
    listed = any(type_name(evaluator) == "CocoMetric" for evaluator in list_evaluators(cfg))
    return listed or bool((cfg.model.get("test_cfg") or {}).get("instance_on", False))


def select_metrics(cfg: Config, names: Iterable[str]) -> list[ConfigDict]:
    """Build the test evaluators that compute just the named metrics.

    An evaluator of the right kind in the config is taken over with its settings (the top-k of
    ``Accuracy``, the annotation file of ``CocoMetric``); otherwise it is built from the test
    data set.

    Args:
        cfg: The whole config; it is not changed.
        names: Metrics, in any case of letters.

    Returns:
        Entries for ``cfg.test_evaluator``.

    Raises:
        UsageError: The config's task does not have such a metric.
    """
    available = available_metrics(cfg)
    wanted = [_canonical(name, available) for name in names]
    selected: list[ConfigDict] = []
    for kinds in dict.fromkeys(EVALUATORS[name] for name in wanted):
        evaluator = _find(cfg, kinds) or _build(cfg, kinds[0], wanted)
        argument = NAMES_ARGUMENT.get(type_name(evaluator))
        if argument:
            of_this_kind = [name for name in wanted if EVALUATORS[name] == kinds]
            evaluator[argument] = list(dict.fromkeys(of_this_kind))
        selected.append(evaluator)
    return selected


def _canonical(name: str, available: list[str]) -> str:
    """Return a name as it is spelt in :data:`EVALUATORS`."""
    spelling = {known.lower(): known for known in EVALUATORS}
    known = spelling.get(name.lower())
    if known in available:
        return known
    has = ", ".join(available) or "none of the metrics that --eval knows"
    if known:
        raise UsageError(f"--eval {name}: the model of this config has no {known}; it has: {has}")
    near = difflib.get_close_matches(name.lower(), spelling, n=1)
    hint = f" (did you mean {spelling[near[0]]}?)" if near else ""
    raise UsageError(f"--eval {name}: unknown metric{hint}; this config has: {has}")


def _find(cfg: Config, kinds: tuple[str, ...]) -> ConfigDict | None:
    """Copy the config's first evaluator of one of the kinds."""
    for evaluator in list_evaluators(cfg):
        if type_name(evaluator) in kinds:
            return copy.deepcopy(evaluator)
    return None


def _build(cfg: Config, kind: str, wanted: list[str]) -> ConfigDict:
    """Build an evaluator that the config does not have, from its test data set."""
    if kind in ("Accuracy", "IoUMetric"):
        return ConfigDict(type=kind)
    dataset = innermost_datasets(cfg.test_dataloader.dataset)[0]
    ann_file = str(dataset.get("ann_file") or "")
    if not ann_file.endswith(".json"):
        raise UsageError(
            f"--eval {' '.join(wanted)}: the test data set ({type_name(dataset)}) has no "
            f"annotations in COCO's format; add a {kind} with its ann_file to test_evaluator"
        )
    root = dataset.get("data_root") or ""
    evaluator: dict[str, Any] = {"type": kind, "ann_file": os.path.join(root, ann_file)}
    if kind == "CocoPanopticMetric":
        evaluator["seg_prefix"] = os.path.join(root, dataset.data_prefix.seg)
    return ConfigDict(evaluator)
