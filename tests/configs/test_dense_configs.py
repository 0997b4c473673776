"""The detection and segmentation configs against the published recipes and counts."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
import torch
import yaml
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmscalablevit.models import ScalableViT
from mmscalablevit.models.complexity import Complexity, count_complexity
from mmscalablevit.models.scalablevit import PEG

ROOT = Path(__file__).parents[2]
DETECTION = ROOT / "configs/detection/scalablevit"
SEGMENTATION = ROOT / "configs/segmentation/scalablevit"
RECIPES = {
    **{f"retinanet_scalablevit-{s}_fpn_1x_coco": ("retinanet", s, "1x") for s in "sbl"},
    **{f"retinanet_scalablevit-{s}_fpn_ms-3x_coco": ("retinanet", s, "3x") for s in "sb"},
    **{f"mask-rcnn_scalablevit-{s}_fpn_1x_coco": ("mask-rcnn", s, "1x") for s in "sbl"},
    **{f"mask-rcnn_scalablevit-{s}_fpn_ms-3x_coco": ("mask-rcnn", s, "3x") for s in "sb"},
    **{f"scalablevit-{s}_fpn_4xb4-80k_ade20k-512x512": ("fpn", s, "80k") for s in "sbl"},
    **{f"scalablevit-{s}_upernet_8xb2-160k_ade20k-512x512": ("upernet", s, "160k") for s in "sbl"},
}
# Variants of S have tests of their own.
VARIANTS = {path.stem for path in SEGMENTATION.glob("scalablevit-s-*.py")}
DETECTORS = [name for name in RECIPES if RECIPES[name][0] in ("retinanet", "mask-rcnn")]
SEGMENTORS = [name for name in RECIPES if name not in DETECTORS]

ARCH = {"s": "small", "b": "base", "l": "large"}
WIDTHS = {
    "s": [64, 128, 256, 512],
    "b": [96, 192, 384, 768],
    "l": [128, 256, 512, 1024],
}
# Whole models with the released bodies, in M, from a count of their own.
PARAMETERS = {
    "retinanet": {"s": 36.03, "b": 85.56, "l": 112.63},
    "mask-rcnn": {"s": 45.95, "b": 94.90, "l": 121.38},
    "fpn": {"s": 30.04, "b": 79.00, "l": 105.48},
    "upernet": {"s": 56.10, "b": 107.05, "l": 135.52},
}
# Published, in G: detection at 800x1280, segmentation at 512x2048.
FLOPS = {
    "retinanet": {"s": 238, "b": 330, "l": 457},
    "mask-rcnn": {"s": 256, "b": 349, "l": 477},
    "fpn": {"s": 174, "b": 270, "l": 402},
    "upernet": {"s": 931, "b": 1029, "l": 1162},
}


def path_of(name: str) -> Path:
    return (DETECTION if name in DETECTORS else SEGMENTATION) / f"{name}.py"


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(path_of(name))


@functools.cache
def build(name: str) -> nn.Module:
    """The model of a config, with shapes and without values."""
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return MODELS.build(cfg.model)


@functools.cache
def count(name: str) -> Complexity:
    return count_complexity(build(name), (800, 1280) if name in DETECTORS else (512, 2048))


def learning_rate(name: str) -> float:
    detector, _, schedule = RECIPES[name]
    return {
        ("mask-rcnn", "1x"): 2e-4,
        ("upernet", "160k"): 6e-5,
    }.get((detector, schedule), 1e-4)


def test_every_config_is_listed() -> None:
    found = {path.stem for folder in (DETECTION, SEGMENTATION) for path in folder.glob("*.py")}
    assert found == set(RECIPES) | VARIANTS


@pytest.mark.parametrize("name", RECIPES)
def test_leaf_is_short(name: str) -> None:
    assert len(path_of(name).read_text().splitlines()) < 15


@pytest.mark.parametrize(
    "path",
    [path for folder in (DETECTION, SEGMENTATION) for path in sorted(folder.rglob("*.py"))],
    ids=lambda path: path.stem,
)
def test_bases_resolve_on_both_stacks(path: Path) -> None:
    # A base of MMSegmentation is looked up by the name of its distribution, which the
    # maintained fork changed.
    allowed = {"mmdet"} if DETECTION in path.parents else set()
    assert set(re.findall(r"""["'](\w+)::""", path.read_text())) <= allowed


@pytest.mark.parametrize("name", RECIPES)
def test_parses_without_the_upstream_distribution_of_mmseg(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmengine.config.config.is_installed", lambda package: package != "mmsegmentation"
    )
    assert Config.fromfile(path_of(name)).pretty_text == load(name).pretty_text


@pytest.mark.parametrize("name", RECIPES)
def test_model(name: str) -> None:
    kind, size, _ = RECIPES[name]
    model, cfg = build(name), load(name)
    assert isinstance(model.backbone, ScalableViT)
    assert cfg.model.backbone.arch == ARCH[size]
    used = WIDTHS[size][1:] if kind == "retinanet" else WIDTHS[size]
    assert [model.backbone.embed_dims[i] for i in model.backbone.out_indices] == used
    consumer = model.decode_head if kind == "upernet" else model.neck
    assert list(consumer.in_channels) == used
    if kind == "upernet":
        assert model.auxiliary_head.in_channels == WIDTHS[size][2]
        assert model.auxiliary_head.in_index == 2
    if name in SEGMENTORS:
        assert model.decode_head.num_classes == 150
    if kind == "retinanet":
        assert model.neck.num_outs == 5
        assert model.neck.start_level == 0  # of the maps from the second stage on
        assert model.neck.add_extra_convs == "on_input"
    drop_path = 0.3 if (kind, size) == ("upernet", "l") else 0.2
    assert model.backbone.stages[-1].blocks[-1].drop_path.drop_prob == drop_path
    assert cfg.model.backbone.init_cfg == {
        "type": "Pretrained",
        "checkpoint": f"checkpoints/scalablevit-{size}_in1k.pth",
        "prefix": "backbone.",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_no_output_map_is_left_out(name: str) -> None:
    # FPN ignores the maps below start_level and UPerHead those outside in_index; the norm
    # of such a map would stop distributed training.
    model = build(name)
    number = len(model.backbone.out_indices)
    if RECIPES[name][0] == "upernet":
        assert len(model.decode_head.in_index) == number
    else:
        assert len(model.neck.lateral_convs) == number


@pytest.mark.parametrize("name", RECIPES)
def test_parameters(name: str) -> None:
    kind, size, _ = RECIPES[name]
    parameters = sum(p.numel() for p in build(name).parameters()) / 1e6
    assert parameters == pytest.approx(PARAMETERS[kind][size], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if "3x" not in name])
def test_flops(name: str) -> None:
    kind, size, _ = RECIPES[name]
    # The published S is a slightly larger model than the released one.
    tolerance = 0.01 if size == "s" else 0.0025
    assert count(name).paper_macs / 1e9 == pytest.approx(FLOPS[kind][size], rel=tolerance)
    assert count(name).total_macs > count(name).paper_macs


@pytest.mark.parametrize("name", RECIPES)
def test_runtime(name: str) -> None:
    cfg = load(name)
    assert cfg.default_scope == ("mmdet" if name in DETECTORS else "mmseg")
    assert cfg.custom_imports == {"imports": ["mmscalablevit"], "allow_failed_imports": False}
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert not cfg.auto_scale_lr.get("enable", False)
    gpus = 4 if RECIPES[name][0] == "fpn" else 8
    assert gpus * cfg.train_dataloader.batch_size == 16


@pytest.mark.parametrize("name", DETECTORS)
def test_detection_recipe(name: str) -> None:
    cfg, (kind, _, schedule) = load(name), RECIPES[name]
    epochs, milestones = {"1x": (12, [8, 11]), "3x": (36, [27, 33])}[schedule]
    warm_up, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == steps.end == epochs
    assert (steps.type, steps.milestones, steps.gamma) == ("MultiStepLR", milestones, 0.1)
    assert (warm_up.type, warm_up.by_epoch, warm_up.end) == ("LinearLR", False, 500)

    scales = resize_scales(cfg.train_dataloader.dataset.pipeline)
    if schedule == "1x":
        assert scales == [(1333, 800)]
    else:
        assert {long for long, _ in scales} == {1333}
        shorts = sorted(short for _, short in scales)
        assert (shorts[0], shorts[-1], len(shorts)) == (480, 800, 11)
    assert resize_scales(cfg.test_dataloader.dataset.pipeline) == [(1333, 800)]

    masks = kind == "mask-rcnn"
    assert cfg.test_evaluator.metric == (["bbox", "segm"] if masks else "bbox")
    annotations = next(
        step for step in cfg.train_dataloader.dataset.pipeline if step.type == "LoadAnnotations"
    )
    assert annotations.get("with_mask", False) is masks


def resize_scales(pipeline: list[Any]) -> list[tuple[int, int]]:
    step = next(step for step in pipeline if "Resize" in step.type)
    return step.scales if step.type == "RandomChoiceResize" else [step.scale]


@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentation_recipe(name: str) -> None:
    cfg, (kind, _, _) = load(name), RECIPES[name]
    iterations = 80000 if kind == "fpn" else 160000
    poly = cfg.param_scheduler[-1]
    assert cfg.train_cfg.max_iters == poly.end == iterations
    assert (poly.type, poly.by_epoch) == ("PolyLR", False)
    if kind == "fpn":
        assert len(cfg.param_scheduler) == 1
        assert (poly.power, poly.eta_min, poly.begin) == (0.9, 1e-6, 0)
    else:
        warm_up = cfg.param_scheduler[0]
        assert (warm_up.type, warm_up.start_factor, warm_up.end) == ("LinearLR", 1e-6, 1500)
        assert (poly.power, poly.begin) == (1.0, 1500)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps["RandomCrop"].crop_size == cfg.model.data_preprocessor.size == (512, 512)
    assert resize_scales(cfg.test_dataloader.dataset.pipeline) == [(2048, 512)]
    assert cfg.model.test_cfg.mode == "whole"
    assert cfg.test_evaluator.iou_metrics == ["mIoU"]
    assert cfg.tta_model.type == "SegTTAModel"


@pytest.mark.parametrize("name", RECIPES)
def test_optimizer(name: str) -> None:
    cfg, (kind, _, schedule) = load(name), RECIPES[name]
    model = build(name)
    weight_decay = {"3x": 0.05, "160k": 0.01}.get(schedule, 1e-4)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.AdamW
    assert {group["lr"] for group in optimizer.param_groups} == {learning_rate(name)}
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(model.parameters()))

    exempt = set()
    if schedule == "3x" or kind == "upernet":
        exempt = {
            id(parameter)
            for module in model.backbone.modules()
            if isinstance(module, nn.LayerNorm | PEG)
            for parameter in module.parameters()
        }
        assert exempt
    for parameter_name, parameter in model.named_parameters():
        expected = 0.0 if id(parameter) in exempt else weight_decay
        assert decays[id(parameter)] == expected, parameter_name


def test_test_time_augmentation_scales_the_test_size(tmp_path: Path) -> None:
    cfg = load(SEGMENTORS[0])
    init_default_scope("mmseg")
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
    out = Compose(cfg.tta_pipeline)(sample)
    seen = {}
    for image, data in zip(out["inputs"], out["data_samples"], strict=True):
        left_is_white = bool(image[..., :10].float().mean() > 128)
        assert left_is_white is not data.flip
        seen.setdefault(bool(data.flip), []).append(min(image.shape[1:]))
        assert data.gt_sem_seg.data.max() == 0  # class 1 of the file is the first one
    # 0.5, 0.75, 1, 1.25, 1.5 and 1.75 times a short side of 512
    assert seen == {flip: [256, 384, 512, 640, 768, 896] for flip in (False, True)}


@pytest.mark.parametrize("folder", [DETECTION, SEGMENTATION], ids=["detection", "segmentation"])
def test_metafile_and_readme(folder: Path) -> None:
    names = [name for name in RECIPES if path_of(name).parent == folder]
    metafile = yaml.safe_load((folder / "metafile.yml").read_text())
    models = {model["Name"]: model for model in metafile["Models"]}
    assert set(models) - VARIANTS == set(names)
    collections = {collection["Name"] for collection in metafile["Collections"]}
    readme = (folder / "README.md").read_text()
    for name in names:
        kind, size, _ = RECIPES[name]
        model = models[name]
        assert model["In Collection"] in collections
        assert ROOT / model["Config"] == path_of(name)
        assert model["Metadata"]["Parameters"] == sum(p.numel() for p in build(name).parameters())
        assert model["Published"]["FLOPs (G)"] == FLOPS[kind][size]
        assert f"({name}.py)" in readme
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert str((folder / "metafile.yml").relative_to(ROOT)) in index["Import"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if "3x" not in name])
def test_flops_of_the_metafile(name: str) -> None:
    metafile = yaml.safe_load((path_of(name).parent / "metafile.yml").read_text())
    metadata = next(model for model in metafile["Models"] if model["Name"] == name)["Metadata"]
    assert metadata["FLOPs"] == count(name).paper_macs
    assert metadata["FLOPs (everything counted)"] == count(name).total_macs
