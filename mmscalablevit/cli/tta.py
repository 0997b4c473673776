"""Test-time augmentation by the model wrapper of each framework."""

from __future__ import annotations

import copy

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import (
    available_metrics,
    innermost_datasets,
    list_evaluators,
    names_argument,
)

# What each framework wraps the model in, where the config does not say.
TTA_MODELS: dict[str, dict] = {
    "mmpretrain": {"type": "AverageClsScoreTTA"},
    "mmseg": {"type": "SegTTAModel"},
    "mmdet": {
        "type": "DetTTAModel",
        "tta_cfg": {"nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100},
    },
}


def flip_pipeline(pipeline: list[ConfigDict]) -> list[ConfigDict]:
    """Extend a test pipeline to give each image as it is and mirrored.

    Its last step, which packs the sample, gets into ``TestTimeAug``. The unflipped image comes
    first, since the frameworks take the ground truth from the first one.
    """
    *steps, pack = copy.deepcopy(pipeline)
    if "meta_keys" in pack:  # the merging step must know which image was flipped
        pack.meta_keys = tuple(dict.fromkeys((*pack.meta_keys, "flip", "flip_direction")))
    flips = [{"type": "RandomFlip", "prob": 0.0}, {"type": "RandomFlip", "prob": 1.0}]
    return [*steps, ConfigDict(type="TestTimeAug", transforms=[flips, [pack]])]


def enable_tta(cfg: Config) -> None:
    """Switch a config to test-time augmentation, in place.

    The config's own ``tta_model`` and ``tta_pipeline`` are used where it has them; otherwise the
    framework's wrapper, and horizontal flipping. MMDetection merges boxes only: the mask metrics
    of a detector are left out.

    Raises:
        UsageError: The framework has no such wrapper, or only mask metrics are asked for.
    """
    scope = cfg.get("default_scope")
    if "tta_model" not in cfg and scope not in TTA_MODELS:
        raise UsageError(f"--tta: no default for scope {scope!r}; add tta_model to the config")
    if scope == "mmdet" and "segm" in available_metrics(cfg):
        _test_boxes_only(cfg)
    for dataset in innermost_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get("tta_pipeline") or flip_pipeline(dataset.pipeline)
    wrapper = cfg.get("tta_model") or TTA_MODELS[scope]
    cfg.model = ConfigDict(**wrapper, module=cfg.model)


def _test_boxes_only(cfg: Config) -> None:
    """Take the mask head and the mask metrics out of a detector's test."""
    roi_head = cfg.model.get("roi_head") or {}
    if "mask_head" not in roi_head:
        raise UsageError("--tta: MMDetection cannot merge the masks of this model")
    kept = []
    for evaluator in list_evaluators(cfg):
        argument = names_argument(cfg, evaluator)
        if argument:
            names = evaluator.get(argument, "bbox")
            names = [names] if isinstance(names, str) else list(names)
            evaluator[argument] = [name for name in names if name != "segm"]
            if not evaluator[argument]:
                continue
        kept.append(evaluator)
    if not kept:
        raise UsageError("--tta: MMDetection merges boxes only, not masks; use --eval bbox")
    cfg.test_evaluator = kept
    roi_head.pop("mask_head")
    roi_head.pop("mask_roi_extractor", None)
    print_log("--tta: MMDetection merges boxes only; masks are left out", logger="current")
