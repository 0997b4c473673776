"""Counts against the released models' and against products worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmscalablevit.models import IWSA, SSA, ScalableViT
from mmscalablevit.models.complexity import count_complexity, count_parameters

# Counted on the released models at 224x224, heads included: parameters (M), multiply-accumulates
# (G) without and with attention's products.
RELEASED = {
    "small": (512, 32.000, 4.09, 4.27),
    "base": (768, 81.882, 8.56, 8.80),
    "large": (1024, 109.289, 14.68, 14.99),
}


class OnMap(nn.Module):
    """An attention behind a model's public face: images in, map out."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x.permute(0, 2, 3, 1))


@pytest.mark.parametrize("arch", RELEASED)
def test_released_models(arch: str) -> None:
    dims, params, without, everything = RELEASED[arch]
    with torch.device("meta"):
        backbone = ScalableViT(arch)
        head = nn.Sequential(nn.Linear(dims, 4096), nn.LayerNorm(4096), nn.Linear(4096, 1000))
    counts = count_complexity(backbone, (224, 224))
    head_macs = dims * 4096 + 4096 * 1000
    assert (counts.parameters + count_parameters(head)) / 1e6 == pytest.approx(params, abs=5e-4)
    assert (counts.paper_macs + head_macs) / 1e9 == pytest.approx(without, abs=0.005)
    assert (counts.total_macs + head_macs) / 1e9 == pytest.approx(everything, abs=0.005)


@pytest.mark.parametrize("channel_ratio", [0.25, 1.25, 2.0])
def test_ssa_counts_no_padding_columns(channel_ratio: float) -> None:
    dims, scaled = 16, int(16 * channel_ratio)
    counts = count_complexity(OnMap(SSA(dims, 2, channel_ratio, 2)), (6, 10), in_channels=dims)
    tokens, reduced = 6 * 10, 3 * 5
    assert counts.macs["scaled_dot_product_attention"] == tokens * reduced * (scaled + dims)
    assert counts.macs["convolution"] == reduced * (4 * dims + dims * scaled)
    linear = tokens * dims * scaled + reduced * scaled * (scaled + dims) + tokens * dims * dims
    assert counts.paper_macs == counts.macs["convolution"] + linear


def test_iwsa_counts_what_fills_the_windows_up() -> None:
    dims = 8
    counts = count_complexity(OnMap(IWSA(dims, 2)), (7, 10), in_channels=dims)
    # Two windows of 49 tokens, 7x14 with the zeros, in which every token meets every token twice.
    assert counts.macs["scaled_dot_product_attention"] == 2 * 2 * dims * 49**2
    # qkv on all of it; the 3x3 convolution and the last layer on the map itself.
    assert counts.paper_macs == 98 * dims * 3 * dims + 70 * dims * (9 + dims)


class Various(nn.Module):
    """A linear layer on an uncontiguous map, a product of activations, and PyTorch's own MHA."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.linear(x.permute(0, 2, 3, 1)).flatten(1, 2)
        tokens = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        tokens = tokens @ tokens.transpose(1, 2) @ tokens
        return self.attention(tokens, tokens, tokens)[0]


def test_operator_kinds() -> None:
    counts = count_complexity(Various(), (4, 5))
    products = 2 * 20 * 20 * 8
    linear = 20 * (3 * 8 + 4 * 8 * 8)
    assert counts.macs["mm"] + counts.macs["addmm"] == linear == counts.paper_macs
    assert counts.macs["bmm"] + counts.macs["scaled_dot_product_attention"] == 2 * products
    assert counts.total_macs == linear + 2 * products


def test_model_is_left_as_it_was() -> None:
    model = Various()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    count_complexity(model, (4, 5))
    assert model.training and not model.norm.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    after = model.state_dict()
    assert all(after[key].device.type == "cpu" for key in after)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["mask-rcnn_r50_fpn", "cascade-mask-rcnn_r50_fpn"])
def test_roi_heads_of_two_stage_detectors(name: str, tmp_path) -> None:
    path = tmp_path / "config.py"
    path.write_text(f'_base_ = "mmdet::_base_/models/{name}.py"\n')
    init_default_scope("mmdet")
    with torch.device("meta"):
        model = MMDET_MODELS.build(Config.fromfile(path).model)
    counts = count_complexity(model, (64, 96))
    stages = 3 if name.startswith("cascade") else 1
    boxes = 4 if name.startswith("cascade") else 4 * 80  # a cascade's are class-agnostic
    box_head = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (81 + boxes)
    assert counts.macs["addmm"] == stages * 1000 * box_head
    mask_head = 196 * (4 * 9 * 256 * 256 + 4 * 256 * 256 + 4 * 256 * 80)
    rest = count_complexity(nn.Sequential(model.backbone, model.neck), (64, 96)).total_macs
    # the RPN's 3x3 convolution and its two 1x1, on five maps of strides 4 to 64
    positions = sum(-(-64 // stride) * -(-96 // stride) for stride in (4, 8, 16, 32, 64))
    rpn = positions * (9 * 256 * 256 + 256 * 3 * 5)
    assert counts.macs["convolution"] == rest + rpn + stages * 100 * mask_head
