import pytest
import torch
from torch import nn

from mmscalablevit.backbones import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.backbones.layers import init_layer
from tests import reference

SIZES = [(7, 7), (14, 7), (8, 15), (5, 3), (1, 1), (1, 9), (16, 10)]
ATTENTIONS = {
    "WSA": lambda: WSA(8, 2),
    "WSA, window 3": lambda: WSA(8, 2, window_size=3),
    "IWSA": lambda: IWSA(8, 2),
    "WSAWithLEM": lambda: WSAWithLEM(8, 2),
    "SWSA": lambda: SWSA(8, 2),
    "SSA, wider q and k": lambda: SSA(8, 2, channel_ratio=1.25, spatial_ratio=2),
    "SSA, narrower q and k": lambda: SSA(8, 2, channel_ratio=0.25, spatial_ratio=4),
    "SSA, r_c = 1": lambda: SSA(8, 2, channel_ratio=1.0, spatial_ratio=2),
    "SSA, r = 1": lambda: SSA(8, 2),
    "SSA, r = 1, r_c = 2": lambda: SSA(8, 2, channel_ratio=2.0),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    module = ATTENTIONS[name]()
    for parameter in module.parameters():  # norms and biases at 1 and 0 would hide mistakes
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_equals_brute_force(name, size):
    module = build(name)
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        expected = reference.attention(module, x)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4 * expected.std())


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gradients_equal_brute_force(name):
    module = build(name)
    x = torch.randn(1, 8, 9, 8, requires_grad=True)
    seed = torch.randn(1, 8, 9, 8)
    wanted = [x, *module.parameters()]
    expected = torch.autograd.grad((reference.attention(module, x) * seed).sum(), wanted)
    actual = torch.autograd.grad((module(x) * seed).sum(), wanted)
    for a, b in zip(actual, expected, strict=True):
        # The bias of the keys has no gradient but rounding: softmax does not see it.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(b.abs().max())))


def test_an_unknown_border_never_leaks_into_other_windows():
    module = build("WSA").eval()
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
