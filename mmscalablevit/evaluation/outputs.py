"""Writing a test's results to a file of the format that its task uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import innermost_datasets, list_evaluators, type_name
from mmscalablevit.files import ensure_writable, write_json

# The format of each framework's results: the suffix of --out, none for a directory.
TASK_SUFFIXES = {"mmpretrain": ".json", "mmdet": ".json", "mmseg": ""}

# Evaluators that need no labels, since they write what was predicted and compute nothing.
_WRITERS = ("ClassificationResults", "DumpResults", "DumpDetResults", "PanopticResults")


@METRICS.register_module()
class ClassificationResults(BaseMetric):
    """Write the predictions of a classifier as JSON; computes no metric.

    Each image is an object with ``file``, ``predicted_label``, ``predicted_class``, ``score``,
    ``true_label`` and ``true_class``.

    Args:
        out_file: Path of the JSON file.
    """

    def __init__(self, out_file: str) -> None:
        super().__init__()
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what a batch's samples say of their images."""
        for sample in data_samples:
            label = int(sample["pred_label"])
            self.results.append(
                {
                    "file": sample.get("img_path"),
                    "predicted_label": label,
                    "score": float(sample["pred_score"][label]),
                    "true_label": int(sample["gt_label"]) if "gt_label" in sample else None,
                }
            )

    def compute_metrics(self, results: list) -> dict:
        """Write the file; runs in the main process, with the results of all."""
        classes = (self.dataset_meta or {}).get("classes") or ()
        for result in results:
            for key in ("predicted", "true"):
                label = result[f"{key}_label"]
                known = label is not None and label < len(classes)
                result[f"{key}_class"] = classes[label] if known else None
        write_json(self.out_file, results)
        return {}


def add_output(cfg: Config, out: str) -> list[str]:
    """Let a test write its results, by additions to the config's evaluators, in place.

    ``.json`` is a list of predictions for a classifier and COCO's results format, one file per
    kind (``NAME.bbox.json``, ``NAME.segm.json``), for a detector; a directory is filled with
    label images for semantic segmentation; ``.zip`` is what COCO's server takes of panoptic
    segmentation; ``.pkl`` holds MMEngine's data samples for any task.

    Returns:
        The patterns of the paths that the test will write.

    Raises:
        UsageError: The suffix does not fit the task, or the place cannot be written to.
    """
    scope, suffix = cfg.get("default_scope"), Path(out).suffix
    wanted = TASK_SUFFIXES.get(scope)
    if suffix in (".pkl", ".pickle"):
        ensure_writable(Path(out).parent)
        kind = "DumpDetResults" if scope == "mmdet" else "DumpResults"
        cfg.test_evaluator = [*list_evaluators(cfg), {"type": kind, "out_file_path": out}]
        return [out]
    panoptic = [e for e in list_evaluators(cfg) if type_name(e) == "PanopticQuality"]
    if panoptic:
        wanted = ".zip"
    if wanted is None or suffix != wanted:
        form = f"a {wanted} file" if wanted else "a directory (a path without a suffix)"
        forms = "" if wanted is None else f"{form} or "
        raise UsageError(f"--out {out}: the results of this task go to {forms}a .pkl file")
    ensure_writable(Path(out).parent if wanted else out)
    if scope == "mmpretrain":
        writer = {"type": "ClassificationResults", "out_file": out}
        cfg.test_evaluator = [*list_evaluators(cfg), writer]
        return [out]
    if scope == "mmseg":
        _set(cfg, out, ("IoUMetric", "CityscapesMetric"), "output_dir", out)
        return [f"{out}/*.png"]
    if panoptic:
        if not re.fullmatch(r"panoptic_.+_.+_results", Path(out).stem):
            names = "panoptic_SET_ALGORITHM_results.zip, SET such as test-dev2017"
            print_log(f"COCO's server takes archives named {names}", logger="current")
        writer = {"type": "PanopticResults", "out_file": out, "ann_file": panoptic[0].ann_file}
        cfg.test_evaluator = [*list_evaluators(cfg), writer]
        return [out]
    prefix = out.removesuffix(".json")
    kinds = ("CocoMetric", "LVISMetric", "CocoPanopticMetric")
    _set(cfg, out, kinds, "outfile_prefix", prefix)
    return [f"{prefix}.*.json"]


def _set(cfg: Config, out: str, kinds: tuple[str, ...], argument: str, value: str) -> None:
    """Set the argument by which the config's evaluator writes files."""
    for evaluator in list_evaluators(cfg):
        if type_name(evaluator) in kinds:
            evaluator[argument] = value
            print_log(f"results go to {value}", logger="current")
            return
    raise UsageError(
        f"--out {out}: none of the test's evaluators writes this format ({' or '.join(kinds)} "
        "does); choose one with --eval, or a .pkl file"
    )


def leave_out_metrics(cfg: Config, pictures: bool = False) -> None:
    """Leave out of a test what needs labels, if its data have none; predictions are written.

    To be called after :func:`add_output` and before test-time augmentation is set up. Where
    pictures are wanted, nothing else needs to be written.

    Raises:
        UsageError: The data have no labels, and there is nothing to write.
    """
    dataset_cfgs = innermost_datasets(cfg.test_dataloader.dataset)
    reasons = [_missing_labels(cfg.get("default_scope"), dataset) for dataset in dataset_cfgs]
    if not any(reasons):
        return
    reason = next(filter(None, reasons))
    writers = []
    for evaluator in list_evaluators(cfg):
        if evaluator.get("outfile_prefix") or evaluator.get("output_dir"):
            evaluator.format_only = True
            if type_name(evaluator) == "CityscapesMetric":
                evaluator.keep_results = True  # which it insists on
            writers.append(evaluator)
        elif type_name(evaluator) in _WRITERS:
            writers.append(evaluator)
    if not writers and not pictures:
        raise UsageError(
            f"the test data have no labels ({reason}): no metric can be computed\n"
            "  --out writes the predictions, --show-dir draws them"
        )
    cfg.test_evaluator = writers
    if cfg.get("default_scope") == "mmseg":  # it cannot load what is not there
        for dataset in dataset_cfgs:
            dataset.pipeline = without_labels(dataset.pipeline)
        if cfg.get("tta_pipeline"):
            cfg.tta_pipeline = without_labels(cfg.tta_pipeline)
    print_log(f"the test data have no labels ({reason}): metrics are left out", logger="current")


def _missing_labels(scope: str | None, dataset: ConfigDict) -> str | None:
    """Say by what a data set has no labels; None if it has some, or does not tell."""
    if scope == "mmpretrain":
        if not dataset.get("with_label", True):
            return "with_label=False"
        is_test_set = type_name(dataset) == "ImageNet" and dataset.get("split") == "test"
        return "ImageNet's test set" if is_test_set else None
    if scope == "mmseg":
        prefixes = dataset.get("data_prefix") or {}
        if prefixes.get("img_path") and not prefixes.get("seg_map_path"):
            return "data_prefix has no seg_map_path"
        loads = any(_loads_labels(step) for step in dataset.pipeline)
        return None if loads else "the pipeline has no LoadAnnotations"
    file = Path(dataset.get("data_root") or "", str(dataset.get("ann_file") or ""))
    if scope != "mmdet" or file.suffix != ".json" or not file.is_file():
        return None
    # Parsing a large file takes seconds, looking for the beginning of its list does not.
    found = re.search(rb'"annotations"\s*:\s*\[\s*[^\s\]]', file.read_bytes())
    return None if found else f"{file} has no annotations"


def _loads_labels(step: Mapping[str, Any]) -> bool:
    return "Annotation" in type_name(dict(step))


def without_labels(steps: Sequence[Any]) -> list[Any]:
    """Return a pipeline, or one inside its steps, without what loads labels."""
    kept: list[Any] = []
    for step in steps:
        if isinstance(step, Sequence):  # of test-time augmentation
            kept += [inner] if (inner := without_labels(step)) else []
        elif "transforms" in step:
            kept.append(ConfigDict({**step, "transforms": without_labels(step.transforms)}))
        elif not _loads_labels(step):
            kept.append(step)
    return kept
