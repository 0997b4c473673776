"""What only ScalableViT's attentions have; the rest is in test_every_attention.py."""

import pytest
import torch

from mmscalablevit.models import IWSA, SSA, WSA
from mmscalablevit.models.layers import init_layer


def test_an_unknown_border_never_leaks_into_other_windows():
    torch.manual_seed(0)
    module = WSA(8, 2).eval()
    x = torch.randn(1, 9, 9, 8)
    changed = x.clone()
    changed[:, 7:, 7:] += 1
    with torch.no_grad():
        difference = (module(x) - module(changed)).abs().sum(-1)[0]
    assert difference[:7].max() == 0
    assert difference[:, :7].max() == 0
    assert difference[7:, 7:].min() > 0


def test_scale_follows_the_channel_ratio_also_without_spatial_reduction():
    assert SSA(32, 2, channel_ratio=1.25, spatial_ratio=2).scale == pytest.approx(
        (16 * 1.25) ** -0.5
    )
    assert SSA(32, 2, channel_ratio=1.25).scale == pytest.approx((16 * 1.25) ** -0.5)
    assert SSA(32, 2, channel_ratio=1.25).q.out_features == 32
    assert IWSA(32, 2).scale == 0.25


def test_norm_eps_of_the_reduction_is_pytorchs_default():
    module = SSA(8, 2, spatial_ratio=2)
    assert module.reduction.norm.eps == 1e-5


def test_initialisation_of_grouped_convolutions_uses_fan_out_per_group():
    torch.manual_seed(0)
    module = (
        SSA(512, 8, channel_ratio=1.25, spatial_ratio=2).apply(init_layer).requires_grad_(False)
    )
    assert module.reduction.depthwise.weight.std() == pytest.approx((2 / 4) ** 0.5, rel=0.05)
    assert module.reduction.pointwise.weight.std() == pytest.approx((2 / 640) ** 0.5, rel=0.05)
    assert module.q.weight.std() == pytest.approx(0.02, rel=0.05)
    assert module.q.bias.abs().max() == 0
