"""What the papers say of their trainings, beside what test_every_leaf.py reads from the names."""

from __future__ import annotations

import re
from typing import Any

import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmscalablevit.checkpoints.conversion import convert
from tests import golden
from tests.leaves import LEAVES, build, load

DETECTORS = [name for name in LEAVES if "_coco" in name]
SEGMENTORS = [name for name in LEAVES if "_ade20k" in name]


def steps(cfg: Config, split: str = "train") -> dict[str, Any]:
    """A pipeline's steps by their types."""
    return {step.type: step for step in cfg[f"{split}_dataloader"].dataset.pipeline}


def test_classification() -> None:
    drop_paths = {
        "scalablevit": {"small": 0.2, "base": 0.5, "large": 0.5},
        "stvit": {"small": 0.1, "base": 0.4, "large": 0.4},
    }
    for family, sizes in drop_paths.items():
        for size, drop_path in sizes.items():
            config = load(f"{family}-{size}_8xb128_in1k")
            assert config.model.backbone.drop_path_rate == drop_path
            assert config.train_dataloader.sampler.type == "RepeatAugSampler"
            assert config.optim_wrapper.clip_grad.max_norm == 5
            warmup, cosine = config.param_scheduler
            assert warmup.start_factor * 1e-3 == pytest.approx(1e-6)
            assert warmup.end == cosine.begin == 5
            assert cosine.eta_min == 1e-5
            assert config.model.head.loss.label_smooth_val == 0.1
            mixes = [(a.type, a.alpha) for a in config.model.train_cfg.augments]
            assert mixes == [("Mixup", 0.8), ("CutMix", 1.0)]
            augment, erase = steps(config)["RandAugment"], steps(config)["RandomErasing"]
            assert (augment.magnitude_level, augment.magnitude_std) == (9, 0.5)
            assert (erase.erase_prob, erase.mode) == (0.25, "rand")
            resize, crop = config.test_dataloader.dataset.pipeline[1:3]
            assert (resize.scale, resize.interpolation, crop.crop_size) == (256, "bicubic", 224)


def test_lvt_with_class_attention() -> None:
    for labels in ("", "-token-label"):
        cfg = load(f"lvt-ca_8xb128_in1k{labels}")
        assert cfg.model.backbone.drop_path_rate == 0.1
        types = [step.type for step in cfg.train_dataloader.dataset.pipeline]
        flip, augment, crop, erase = types[-5:-1]
        assert flip == "TokenLabelRandomFlip" and augment == "TokenLabelRandAugment"
        assert crop == "TokenLabelRandomResizedCrop" and erase == "RandomErasing"
        assert ("LoadTokenLabels" in types) == bool(labels)
        settings = steps(cfg)["TokenLabelRandAugment"]
        assert (settings.num_policies, settings.magnitude_level, settings.magnitude_std) == (
            2,
            9,
            0.5,
        )
        assert settings.hparams.pad_val == [round(255 * mean) for mean in (0.406, 0.456, 0.485)]
        assert cfg.train_dataloader.sampler.type == "DefaultSampler"
        assert cfg.train_dataloader.drop_last and not cfg.model.get("train_cfg")
        assert "clip_grad" not in cfg.optim_wrapper
        assert (cfg.randomness.seed, cfg.randomness.diff_rank_seed) == (42, True)
        (schedule,) = cfg.param_scheduler
        assert (schedule.warmup, schedule.T_max) == (20, 300)
        assert (schedule.start, schedule.eta_min) == (1e-6, 1e-5)
        resize, centre = cfg.test_dataloader.dataset.pipeline[1:3]
        assert (resize.scale, resize.interpolation, centre.crop_size) == (233, "bicubic", 224)
        assert (resize.backend, resize.edge) == ("pillow", "short")


def test_lvt_exempts_from_decay_what_the_released_code_does() -> None:
    released = golden.load_golden("lvt_token_labels/schedule")["no_decay"]
    weights = golden.released_state_dict("lvt_cls")
    expected = convert(
        {name: torch.ones(value.shape) * (name in released) for name, value in weights.items()}
    )
    model = build("lvt-ca_8xb128_in1k")
    settings = {**load("lvt-ca_8xb128_in1k").optim_wrapper, "type": "OptimWrapper"}
    groups = build_optim_wrapper(model, settings).optimizer.param_groups
    exempt = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    assert len(exempt) == len(released) == 107
    for name, parameter in model.named_parameters():
        assert bool(expected.state_dict[name].all()) == (id(parameter) in exempt), name


def test_stvit_drops_more_paths_at_the_end_and_is_tuned_at_384_pixels() -> None:
    for size in ("small", "base", "large"):
        cfg = load(f"stvit-{size}_8xb128_in1k")
        hooks = [(hook.type, hook.rate, hook.begin) for hook in cfg.get("custom_hooks") or []]
        assert hooks == ([("DropPathHook", 0.6, 300 - 40)] if size == "large" else [])
        fine = load(f"stvit-{size}_8xb64_in1k-384px")
        assert steps(fine).keys() == steps(cfg).keys()
        assert steps(fine)["RandomResizedCrop"].scale == 384
        for split in ("val", "test"):
            assert steps(fine, split)["CenterCrop"].crop_size == 384


def resize_scales(cfg: Config, split: str) -> list[tuple[int, int]]:
    found = steps(cfg, split)
    if "RandomChoiceResize" in found:
        return found["RandomChoiceResize"].scales
    scale = (found.get("RandomResize") or found["Resize"]).scale
    return scale if isinstance(scale, list) else [scale]


def test_detection() -> None:
    for name in DETECTORS:
        cfg, model = load(name), build(name)
        long, panoptic = "ms-3x" in name, "panoptic" in name
        warm_up, decay = cfg.param_scheduler
        assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ("LinearLR", False, 500)
        milestones = [24 if panoptic else 27, 33] if long else [8, 11]
        assert (decay.type, decay.milestones, decay.gamma) == ("MultiStepLR", milestones, 0.1)

        scales = resize_scales(cfg, "train")
        assert {side for side, _ in scales} == {1333}
        shorts = sorted(short for _, short in scales)
        if not long:
            assert shorts == [800]
        elif panoptic:  # a range
            assert shorts == [640, 800]
        else:
            assert (shorts[0], shorts[-1], len(shorts)) == (480, 800, 11)
        assert resize_scales(cfg, "test") == [(1333, 800)]
        if "test-dev" in name:
            assert "LoadPanopticSegments" not in steps(cfg, "test")

        if panoptic:
            assert model.roi_head.bbox_head.fc_out_channels == 160
            assert cfg.model.semantic_head.norm_cfg.num_groups == 12
            continue
        masks = "mask-rcnn" in name
        assert cfg.test_evaluator.metric == (["bbox", "segm"] if masks else "bbox")
        assert steps(cfg)["LoadAnnotations"].get("with_mask", False) is masks
        assert model.backbone.stages[-1].blocks[-1].drop_path.drop_prob == 0.2
        if "retinanet" in name:
            assert tuple(model.backbone.out_indices) == (1, 2, 3)
            assert (model.neck.num_outs, model.neck.start_level) == (5, 0)
            assert model.neck.add_extra_convs == "on_input"


def test_segmentation() -> None:
    for name in SEGMENTORS:
        cfg = load(name)
        *warm_up, poly = cfg.param_scheduler
        assert (poly.type, poly.by_epoch) == ("PolyLR", False)
        if "_fpn_" in name:
            assert not warm_up
            assert (poly.power, poly.eta_min, poly.begin) == (0.9, 1e-6, 0)
        else:
            (linear,) = warm_up
            assert (linear.type, linear.start_factor, linear.end) == ("LinearLR", 1e-6, 1500)
            assert (poly.power, poly.begin) == (1.0, 1500)
        crop = steps(cfg)["RandomCrop"].crop_size
        assert crop == cfg.model.data_preprocessor.size == (512, 512)
        assert resize_scales(cfg, "test") == [(2048, 512)]
        assert cfg.model.test_cfg.mode == "whole"
        assert cfg.test_evaluator.iou_metrics == ["mIoU"]
        assert cfg.tta_model.type == "SegTTAModel"
        if "upernet" in name:
            model = build(name)
            drop_path = 0.3 if "-l_" in name else 0.2
            assert model.backbone.stages[-1].blocks[-1].drop_path.drop_prob == drop_path
            assert model.auxiliary_head.in_index == 2


def test_batch_norms_are_synchronized_except_where_one_process_trains() -> None:
    """STViT has batch norm in its backbone; small models are trained in one process."""
    for name in LEAVES:
        norms = {type(m) for m in build(name).modules() if isinstance(m, _BatchNorm)}
        plain = {kind for kind in norms if not issubclass(kind, nn.SyncBatchNorm)}
        if re.search("digits|cifar10|bccd|camvid|in1k", name):
            assert norms == plain, name
        else:
            assert not plain, name
            assert norms or "stvit" not in name


def test_test_time_augmentation_scales_the_test_size(tmp_path: Any) -> None:
    picture = np.zeros((300, 400, 3), dtype=np.uint8)
    picture[:, :200] = 255
    mmcv.imwrite(picture, str(tmp_path / "image.png"))
    mmcv.imwrite(np.ones((300, 400), dtype=np.uint8), str(tmp_path / "labels.png"))
    sample = {
        "img_path": str(tmp_path / "image.png"),
        "seg_map_path": str(tmp_path / "labels.png"),
        "reduce_zero_label": True,
        "seg_fields": [],
    }
    with DefaultScope.overwrite_default_scope("mmseg"):
        out = Compose(load(SEGMENTORS[0]).tta_pipeline)(sample)
    seen: dict[bool, list[int]] = {}
    for image, data in zip(out["inputs"], out["data_samples"], strict=True):
        left_is_white = bool(image[..., :10].float().mean() > 128)
        assert left_is_white is not data.flip
        seen.setdefault(bool(data.flip), []).append(min(image.shape[1:]))
        assert data.gt_sem_seg.data.max() == 0  # class 1 of the file is the first one
    # 0.5, 0.75, 1, 1.25, 1.5 and 1.75 times a short side of 512
    assert seen == {flip: [256, 384, 512, 640, 768, 896] for flip in (False, True)}
