"""Choosing what a test computes by the names that people know: ``bbox``, ``mIoU``, ..."""

from __future__ import annotations

import copy
import difflib
import os.path
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import METRICS

from mmscalablevit.errors import UsageError

_INSTANCES = ("bbox", "segm", "proposal", "proposal_fast")
_AREAS = ("mIoU", "mDice", "mFscore")
_COUNTS = ("precision", "recall", "f1-score", "support")
_DEPTHS = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")

# The argument by which an evaluator is told what to compute, None where it computes one thing, and
# what it computes. Evaluators derived from these take the same; any other goes by its own name.
EVALUATORS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "Accuracy": (None, ("accuracy",)),
    "SingleLabelMetric": ("items", _COUNTS),
    "MultiLabelMetric": ("items", _COUNTS),
    "AveragePrecision": (None, ("mAP",)),
    "CocoMetric": ("metric", _INSTANCES),
    "CocoPanopticMetric": (None, ("PQ",)),
    "PanopticQuality": (None, ("PQ",)),
    "VOCMetric": ("metric", ("mAP", "recall")),
    "OpenImagesMetric": (None, ("mAP",)),
    "CrowdHumanMetric": ("metric", ("AP", "MR", "JI")),
    "CityScapesMetric": (None, ("cityscapes",)),  # MMDetection's
    "SemSegMetric": ("iou_metrics", _AREAS),
    "IoUMetric": ("iou_metrics", _AREAS),
    "CityscapesMetric": (None, ("cityscapes",)),  # MMSegmentation's
    "DepthMetric": ("depth_metrics", _DEPTHS),
}
_TAKES_ONE_NAME = "VOCMetric"


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

    Yields:
        The place in the config, as ``--cfg-options`` takes it, and the settings of each.
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


def names_argument(cfg: Config, evaluator: ConfigDict) -> str | None:
    """Return the argument by which an evaluator of a config is told what to compute, if any."""
    return EVALUATORS.get(_known_kind(cfg, evaluator), (None, ()))[0]


def available_metrics(cfg: Config) -> list[str]:
    """List the names that a config has: of its evaluators, and those that its task adds."""
    task = {} if _lacks_coco_annotations(cfg) else _task_metrics(cfg)
    return list(dict.fromkeys([*_own_metrics(cfg), *task]))


def select_metrics(cfg: Config, names: Iterable[str]) -> list[ConfigDict]:
    """Build the test evaluators that compute just the named metrics.

    An evaluator of the config that computes one is taken over with its settings (the top-k of
    ``Accuracy``, the annotation file of ``CocoMetric``); otherwise it is built from the test
    data set. Names may be in any case of letters.

    Returns:
        Entries for ``cfg.test_evaluator``; the config is not changed.

    Raises:
        UsageError: The config does not have such a metric.
    """
    own, task = _own_metrics(cfg), _task_metrics(cfg)
    wanted = dict.fromkeys(_canonical(cfg, name, [*own, *task]) for name in names)
    groups: dict[int | str, list[str]] = {}  # by the evaluator's place, or its kind if it is new
    for name in wanted:
        groups.setdefault(own[name] if name in own else task[name], []).append(name)
    selected: list[ConfigDict] = []
    for place, group in groups.items():
        if isinstance(place, int):
            evaluator = copy.deepcopy(list_evaluators(cfg)[place])
        else:
            evaluator = _build(cfg, place, group)
        argument = names_argument(cfg, evaluator)
        if argument and _known_kind(cfg, evaluator) == _TAKES_ONE_NAME:
            selected += [ConfigDict({**evaluator, argument: name}) for name in group]
            continue
        if argument:
            evaluator[argument] = group
        selected.append(evaluator)
    return selected


def _known_kind(cfg: Config, evaluator: ConfigDict) -> str:
    """Return the name under which :data:`EVALUATORS` has an evaluator or what it is derived from.

    It is the evaluator's own if they have none.
    """
    kind, name = evaluator.get("type"), type_name(evaluator)
    if isinstance(kind, str) and name not in EVALUATORS:
        scope = evaluator.get("_scope_") or cfg.get("default_scope")
        with METRICS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    ancestors = [] if kind is None or isinstance(kind, str) else [c.__name__ for c in kind.__mro__]
    return next((known for known in (name, *ancestors) if known in EVALUATORS), name)


def _own_metrics(cfg: Config) -> dict[str, int]:
    """Find the place of the first evaluator of the config that computes a metric, by its name."""
    gives = None if cfg.get("default_scope") != "mmdet" else _instance_metrics(cfg)
    found: dict[str, int] = {}
    for place, evaluator in enumerate(list_evaluators(cfg)):
        kind = _known_kind(cfg, evaluator)
        for name in EVALUATORS.get(kind, (None, (kind,)))[1]:
            if gives is None or name in gives or name not in _INSTANCES:
                found.setdefault(name, place)
    return found


def _task_metrics(cfg: Config) -> dict[str, str]:
    """Name the evaluator of each metric of a config's task, whether the config has it or not."""
    scope, model = cfg.get("default_scope"), cfg.model
    if scope == "mmpretrain":
        head = type_name(model.get("head") or {})
        several = "MultiLabel" in head or "MultiTask" in head
        is_classifier = type_name(model).endswith("Classifier") and not several
        return {"accuracy": "Accuracy"} if is_classifier else {}
    if scope == "mmseg":
        return dict.fromkeys(_AREAS, "IoUMetric")
    if scope != "mmdet":
        return {}
    panoptic = {"PQ": "CocoPanopticMetric"} if "panoptic_fusion_head" in model else {}
    return {**panoptic, **dict.fromkeys(_instance_metrics(cfg), "CocoMetric")}


def _instance_metrics(cfg: Config) -> list[str]:
    """List the metrics of single instances that a detector's output allows."""
    model = cfg.model
    if type_name(model) == "RPN":
        return ["proposal", "proposal_fast"]
    if "panoptic_fusion_head" in model:  # which gives single instances where it is told to
        listed = any(type_name(evaluator) == "CocoMetric" for evaluator in list_evaluators(cfg))
        if not listed and not (model.get("test_cfg") or {}).get("instance_on", False):
            return []
    return [name for name in _INSTANCES if name != "segm" or _has_masks(model)]


def _has_masks(model: ConfigDict) -> bool:
    """Tell whether a detector predicts instance masks."""
    return (
        "mask_head" in model
        or "mask_head" in (model.get("roi_head") or {})
        or "panoptic_head" in model
        or "Ins" in type_name(model.get("bbox_head") or {})  # RTMDet-Ins
    )


def _canonical(cfg: Config, name: str, possible: list[str]) -> str:
    """Return a name as it is spelt in a config's metrics."""
    everywhere = [known for _, names in EVALUATORS.values() for known in names]
    spelling = {known.lower(): known for known in (*everywhere, *possible)}
    known = spelling.get(name.lower())
    if known in possible:
        return known
    has = ", ".join(available_metrics(cfg)) or "none of the metrics that --eval knows"
    if known:
        raise UsageError(f"--eval {name}: the model of this config has no {known}; it has: {has}")
    near = difflib.get_close_matches(name.lower(), spelling, n=1)
    hint = f" (did you mean {spelling[near[0]]}?)" if near else ""
    raise UsageError(f"--eval {name}: unknown metric{hint}; this config has: {has}")


def _lacks_coco_annotations(cfg: Config) -> bool:
    """Tell whether a config tests a detector on data without annotations in COCO's format."""
    if cfg.get("default_scope") != "mmdet":
        return False
    dataset = innermost_datasets(cfg.test_dataloader.dataset)[0]
    return not str(dataset.get("ann_file") or "").endswith(".json")


def _build(cfg: Config, kind: str, names: Sequence[str]) -> ConfigDict:
    """Build an evaluator that the config does not have, from its test data set."""
    if kind in ("Accuracy", "IoUMetric"):
        return ConfigDict(type=kind)
    dataset = innermost_datasets(cfg.test_dataloader.dataset)[0]
    if _lacks_coco_annotations(cfg):
        has = ", ".join(available_metrics(cfg))
        raise UsageError(
            f"--eval {' '.join(names)}: the test data set ({type_name(dataset)}) has no annotations"
            f" in COCO's format; add a {kind} with its ann_file to test_evaluator, or choose from"
            f" what this config has: {has}"
        )
    root = dataset.get("data_root") or ""
    evaluator: dict[str, Any] = {"type": kind, "ann_file": os.path.join(root, dataset.ann_file)}
    if kind == "CocoPanopticMetric":
        evaluator["seg_prefix"] = os.path.join(root, dataset.data_prefix.seg)
    return ConfigDict(evaluator)
