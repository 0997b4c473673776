"""Detectors and segmentors of the frameworks' own configs, with ScalableViT in place of ResNet."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmscalablevit.checks.datasets import part_findings
from mmscalablevit.checks.evaluators import evaluator_findings
from mmscalablevit.checks.label_maps import head_findings
from mmscalablevit.checks.weights import check_backbone
from mmscalablevit.cli.building import build_model
from tests.in_process import process_kept

DETECTORS = (
    "retinanet/retinanet_r50_fpn_1x_coco.py",
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "atss/atss_r50_fpn_1x_coco.py",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "gfl/gfl_r50_fpn_1x_coco.py",
    "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py",
    "solo/solo_r50_fpn_1x_coco.py",
    "rpn/rpn_r50_fpn_1x_coco.py",
    "detr/detr_r50_8xb2-150e_coco.py",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
)
SEGMENTORS = (
    "upernet/upernet_r50_4xb4-80k_ade20k-512x512.py",
    "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
    "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py",
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py",
    "fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
)
ARCH = {
    "embed_dims": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4],
    "channel_ratios": [1, 1, 1, 1], "spatial_ratios": [8, 4, 2, 1],
}  # fmt: skip

# Channels of ResNet-50's maps, and of those of SegFormer's encoder, by our widths.
WIDTHS = ({256: 16, 512: 32, 1024: 48, 2048: 64}, {32: 16, 64: 32, 160: 48, 256: 64})


def adapted(part: dict[str, Any], widths: dict[int, int]) -> dict[str, Any]:
    """The settings of a part that reads the backbone's maps, for maps of our widths."""
    found = dict(part)
    for key in ("in_channels", "c1_in_channels"):
        channels = found.get(key)
        if isinstance(channels, (list, tuple)):
            found[key] = [widths[number] for number in channels]
        elif channels:
            found[key] = widths[channels]
    return found


def with_our_backbone(scope: str, path: str) -> Config:
    """A framework's config with ScalableViT, and nothing else changed."""
    package = Path(importlib.import_module(scope).__file__ or "").parent
    cfg = Config.fromfile(package / ".mim/configs" / path)
    model, widths = cfg.model, WIDTHS["segformer" in path]
    readers = ("neck",) if model.get("neck") else ("decode_head", "auxiliary_head")
    for key in readers:
        if model.get(key):
            model[key] = adapted(model[key], widths)
    indices = model.backbone.get("out_indices", (0, 1, 2, 3))
    model.backbone = {"type": "ScalableViT", "arch": ARCH, "out_indices": indices}
    if scope == "mmseg":
        model.pretrained = None
        model.data_preprocessor.size = (64, 64)
    return cfg


def batch(scope: str, cfg: Config) -> dict[str, Any]:
    """Two images with what the task labels."""
    if scope == "mmdet":
        masks = "mask" in str(cfg.model).lower()
        return pytest.importorskip("mmdet.testing").demo_mm_inputs(
            2, [(3, 96, 96)] * 2, num_items=[2, 2], num_classes=80, with_mask=masks
        )
    structures = pytest.importorskip("mmseg.structures")
    samples = []
    for _ in range(2):
        sample = structures.SegDataSample(metainfo={"ori_shape": (64, 64), "img_shape": (64, 64)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, 64, 64)))
        samples.append(sample)
    return {"inputs": [torch.randint(0, 255, (3, 64, 64)).byte()] * 2, "data_samples": samples}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scope", "path"),
    [*(("mmdet", path) for path in DETECTORS), *(("mmseg", path) for path in SEGMENTORS)],
)
def test_a_frameworks_model_is_not_refused_and_trains_and_predicts(scope: str, path: str) -> None:
    pytest.importorskip(scope)
    with process_kept():
        cfg = with_our_backbone(scope, path)
        for findings in (
            part_findings(cfg), head_findings(cfg), evaluator_findings(cfg, "val"),
            evaluator_findings(cfg, "test"),
        ):  # fmt: skip
            assert not [finding for finding in findings if finding.status == "fail"]
        check_backbone(cfg)
        model: Any = build_model(cfg)
        data = batch(scope, cfg)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-4))
        first = model.backbone.get_parameter("stages.0.patch_embed.projection.weight")
        before = first.detach().clone()
        losses = model.train().train_step(data, wrapper)
        assert torch.isfinite(torch.as_tensor(losses["loss"])) and losses["loss"] > 0
        assert not torch.equal(before, first)
        assert len(model.eval().val_step(data)) == 2
