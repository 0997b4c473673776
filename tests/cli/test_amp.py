from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from torch import nn

from mmscalablevit.cli import amp
from mmscalablevit.errors import UsageError


@pytest.fixture
def run_on(monkeypatch):
    """Make the package believe that it runs on a device."""
    return lambda device: monkeypatch.setattr(amp, "get_device", lambda: device)


def test_the_type_fits_the_device(run_on):
    run_on("cpu")
    assert [amp.resolve_dtype(asked) for asked in ("auto", "bfloat16")] == ["bfloat16"] * 2
    with pytest.raises(UsageError, match=r"needs a GPU.*Use --amp bfloat16"):
        amp.resolve_dtype("float16")
    run_on("cuda")
    asked = ("auto", "bfloat16", "float16")
    assert [amp.resolve_dtype(dtype) for dtype in asked] == ["float16", "bfloat16", "float16"]


def test_float16_scales_the_loss_and_bfloat16_does_not(run_on):
    run_on("cuda")
    cfg = Config({"optim_wrapper": {"optimizer": {"type": "SGD"}, "clip_grad": {"max_norm": 1}}})
    amp.train_in_mixed_precision(cfg, "float16")
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.loss_scale == "dynamic" and cfg.optim_wrapper.dtype == "float16"
    amp.train_in_mixed_precision(cfg, "bfloat16")
    assert cfg.optim_wrapper == {
        "type": "BFloat16OptimWrapper",
        "optimizer": {"type": "SGD"},
        "clip_grad": {"max_norm": 1},
    }


def test_another_wrapper_is_left_alone():
    cfg = Config({"optim_wrapper": {"type": "ApexOptimWrapper"}})
    with pytest.raises(UsageError, match="ApexOptimWrapper"):
        amp.train_in_mixed_precision(cfg, "bfloat16")


def test_the_wrapper_casts_the_forward_pass_and_keeps_float32_weights():
    layer = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build({"type": "BFloat16OptimWrapper", "optimizer": optimizer})
    before = layer.weight.clone()
    with wrapper.optim_context(layer):
        out = layer(torch.randn(2, 4))
        assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().mean())
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight, before)
    assert layer(torch.randn(2, 4)).dtype == torch.float32


def test_boxes_stay_in_float32_under_autocast():
    pytest.importorskip("mmdet")
    from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    with DefaultScope.overwrite_default_scope("mmdet"):
        extractor = SingleRoIExtractor(
            roi_layer={"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            out_channels=8,
            featmap_strides=[4],
        )
        head = Shared2FCBBoxHead(in_channels=8, fc_out_channels=16, roi_feat_size=7, num_classes=3)
    model = nn.ModuleList([extractor, head])
    features = (torch.randn(1, 8, 200, 340).bfloat16(),)
    # bfloat16 would round 1003 to 1000: another place altogether for a box of this size
    rois = torch.tensor([[0.0, 1003.0, 403.0, 1013.0, 413.0]])
    expected = extractor((features[0].float(),), rois)
    amp.keep_boxes_in_float32(model)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = extractor(features, rois)
        scores, deltas = head(pooled)
    assert torch.equal(pooled, expected)
    assert scores.dtype == deltas.dtype == torch.float32


def test_a_config_in_half_precision_trains_without_a_gpu_too(run_on):
    for device, expected in (("cpu", "BFloat16OptimWrapper"), ("cuda", "AmpOptimWrapper")):
        run_on(device)
        for kind, fitted in (("AmpOptimWrapper", expected), ("OptimWrapper", "OptimWrapper")):
            cfg = Config({"optim_wrapper": {"type": kind, "optimizer": {"type": "SGD"}}})
            amp.fit_to_device(cfg)
            assert cfg.optim_wrapper.type == fitted
