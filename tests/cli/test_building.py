from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import Config
from torch import nn

pytest.importorskip("mmseg")

from mmscalablevit.cli.building import build_model
from tests.leaves import ROOT


def test_a_model_is_initialized_alike_each_time_and_its_config_left_alone() -> None:
    name = "segmentation/digits/scalablevit-tiny_upernet_1xb8_digits-128x128.py"
    cfg = Config.fromfile(ROOT / "configs" / name)
    cfg.model.decode_head.norm_cfg = {"type": "SyncBN"}
    cfg.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": "absent.pth"}
    before = copy.deepcopy(cfg.to_dict())
    with pytest.raises(FileNotFoundError, match="absent"):
        build_model(cfg)
    first, second = (build_model(cfg, pretrained=False).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert cfg.to_dict() == before
    with torch.device("meta"):
        model = build_model(cfg, pretrained=False, initialize=False)
    kinds = {type(module) for module in model.decode_head.modules()}
    assert nn.SyncBatchNorm not in kinds and any("BatchNorm" in kind.__name__ for kind in kinds)
    assert model.decode_head.conv_seg.weight.is_meta


def test_mmpretrains_preprocessor_stands_beside_the_model() -> None:
    pytest.importorskip("mmpretrain")
    cfg = Config.fromfile(
        ROOT / "configs" / "classification/digits/scalablevit-tiny_1xb64_digits.py"
    )
    cfg.data_preprocessor.mean = [1.0, 2.0, 3.0]
    model = build_model(cfg)
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
