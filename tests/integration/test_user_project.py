"""A user's own project: configs that inherit the frameworks' and take ScalableViT by its name.

Each is trained, validated and tested from a directory of its own by MMEngine's Runner, without
this repository's tools or configs.
"""

from __future__ import annotations

import json
import math
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint

from mmscalablevit.checkpoints import load_file
from tests import tiny_data

BACKBONE = """
custom_imports = dict(imports=["mmscalablevit"])
backbone = dict(
    _delete_=True,
    type="ScalableViT",
    arch=dict(
        embed_dims=[16, 32, 48, 64],
        depths=[1, 2, 2, 1],
        num_heads=[1, 2, 3, 4],
        channel_ratios=[1.25, 1.25, 1.25, 1.0],
        spatial_ratios=[8, 4, 2, 1],
    ),
    drop_path_rate=0.1,
    out_indices=OUT_INDICES,
)
"""

DETECTION = """
model = dict(
    backbone=backbone,
    neck=dict(in_channels=[16, 32, 48, 64]),
    test_cfg=dict(rcnn=dict(score_thr=0.0)),  # untrained: no score is above the usual one
)
load = dict(type="LoadImageFromFile")
boxes = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(160, 96), keep_ratio=True)
keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root="coco/", indices=[0, 1],
                 pipeline=[load, boxes, resize, dict(type="PackDetInputs")]),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root="coco/",
                 pipeline=[load, resize, boxes, dict(type="PackDetInputs", meta_keys=keys)]),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="coco/annotations/instances_val2017.json")
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""

SEGMENTATION = """
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(64, 64)),
    backbone=backbone,
    decode_head=dict(in_channels=[16, 32, 48, 64], norm_cfg=dict(type="BN")),
    auxiliary_head=dict(in_channels=48, norm_cfg=dict(type="BN")),
)
load = dict(type="LoadImageFromFile")
labels = dict(type="LoadAnnotations", reduce_zero_label=True)
pack = dict(type="PackSegInputs")
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root="ade",
                 pipeline=[load, labels, dict(type="RandomCrop", crop_size=(64, 64)), pack]),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root="ade", pipeline=[load, labels, pack]),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=1, val_interval=1)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
"""

CLASSIFICATION = """
model = dict(backbone=backbone, head=dict(num_classes=3, in_channels=64))
data_preprocessor = dict(num_classes=3)
train_dataloader = dict(
    batch_size=3, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type="CustomDataset", data_root="pets", data_prefix="train",
                 pipeline={{_base_.train_pipeline}}),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type="CustomDataset", data_root="pets", data_prefix="val",
                 pipeline={{_base_.test_pipeline}}),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 2))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""

PROJECTS = {
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py": DETECTION,
    "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py": SEGMENTATION,
    "mmpretrain::resnet/resnet50_8xb32_in1k.py": CLASSIFICATION,
}
METRICS = {DETECTION: "coco/bbox_mAP", SEGMENTATION: "mIoU", CLASSIFICATION: "accuracy/top1"}


def resolve_base(base: str) -> str:
    """Name a base so that it is found: MMSegmentation's go by the name of its distribution.

    Where its maintained fork is installed, which has another name, a user gives the path.
    """
    scope, _, path = base.partition("::")
    if scope == "mmseg" and "mmsegmentation" not in {
        distribution.name for distribution in metadata.distributions()
    }:
        module = pytest.importorskip("mmseg")
        return str(Path(module.__file__).parent / ".mim/configs" / path)
    return base


def write_project(home: Path, base: str) -> None:
    settings = PROJECTS[base]
    indices = "(3,)" if settings == CLASSIFICATION else "(0, 1, 2, 3)"
    head = f"_base_ = {resolve_base(base)!r}\n"
    (home / "own.py").write_text(head + BACKBONE.replace("OUT_INDICES", indices) + settings)
    if settings == DETECTION:
        classes = pytest.importorskip("mmdet.datasets").CocoDataset.METAINFO["classes"]
        tiny_data.write_coco(home / "coco", classes)
    elif settings == SEGMENTATION:
        tiny_data.write_ade20k(home / "ade")
    else:
        folders = ["cat", "dog", "hamster"]
        tiny_data.write_class_folders(home / "pets", folders, {"train": 3, "val": 3})


def read_scalars(directory: Path) -> list[dict[str, float]]:
    """What a run has logged, a line of JSON each."""
    [file] = directory.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("base", PROJECTS, ids=lambda base: Path(base).stem)
def test_user_project(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(base.partition("::")[0])
    write_project(tmp_path, base)
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile("own.py")
    cfg.work_dir = "runs"
    Runner.from_cfg(cfg).train()
    cfg = Config.fromfile("own.py")
    cfg.work_dir, cfg.load_from = "tests", find_latest_checkpoint("runs")
    Runner.from_cfg(cfg).test()

    losses = [line["loss"] for line in read_scalars(tmp_path / "runs") if "loss" in line]
    assert len(losses) == 1 and losses[0] > 0 and math.isfinite(losses[0])
    checkpoint = load_file((tmp_path / "runs/last_checkpoint").read_text())
    names = checkpoint["state_dict"].keys()
    assert "backbone.stages.2.blocks.1.attn.kv.weight" in names
    assert not any(name.startswith("backbone.layer1") for name in names)  # ResNet's
    optimizer = checkpoint["optimizer"]
    parameters = sum(len(group["params"]) for group in optimizer["param_groups"])
    assert len(optimizer["state"]) == parameters > 100  # all have taken a gradient
    [report] = (tmp_path / "tests").glob("*/*.json")
    assert METRICS[PROJECTS[base]] in json.loads(report.read_text())
    shutil.rmtree(tmp_path / "runs")  # hundreds of megabytes
