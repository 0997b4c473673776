"""The detection and segmentation configs for the digits: how they start, and their data."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmscalablevit.datasets import DETECTION_METAINFO, SEGMENTATION_METAINFO
from tests.leaves import LEAVES, load

DETECTORS = [name for name, path in LEAVES.items() if "detection/digits" in str(path)]
SEGMENTORS = [name for name, path in LEAVES.items() if "segmentation/digits" in str(path)]


def real(name: str) -> nn.Module:
    """The model of a config with its values."""
    with DefaultScope.overwrite_default_scope(load(name).default_scope):
        return MODELS.build(load(name).model)


def test_linear_layers_start_by_xavier() -> None:
    model = real("mask-rcnn_scalablevit-tiny_fpn_1xb4_digits")
    model.init_weights()
    layers = [module for module in model.backbone.modules() if isinstance(module, nn.Linear)]
    for module in (module for module in layers if module.weight.numel() > 10_000):
        expected = (2 / (module.in_features + module.out_features)) ** 0.5
        assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert not module.bias.any()


def test_rois_are_cut_out_of_the_right_place() -> None:
    # mmcv's RoIAlign reads any map as if it were contiguous, without a word.
    model = real("mask-rcnn_scalablevit-tiny_fpn_1xb4_digits").eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.rand(2, 3, 128, 128))
        rois = torch.tensor([[0, 8, 16, 40, 60], [1, 50, 30, 90, 120.0]])
        extract = model.roi_head.bbox_roi_extractor
        expected = extract([level.contiguous() for level in maps][:4], rois)
        torch.testing.assert_close(extract(maps[:4], rois), expected)


def test_data_sets_have_the_classes_and_colours_of_what_is_written() -> None:
    for name in [*DETECTORS, *SEGMENTORS]:
        if "panoptic" in name:  # its categories are read from the annotations
            continue
        expected = DETECTION_METAINFO if name in DETECTORS else SEGMENTATION_METAINFO
        for split in ("train", "val", "test"):
            found = load(name)[f"{split}_dataloader"].dataset.metainfo
            assert tuple(found.classes) == expected["classes"]
            assert list(map(tuple, found.palette)) == expected["palette"]
