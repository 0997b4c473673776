"""The attentions of all backbones against brute force."""

import pytest
import torch
from torch import nn

from mmscalablevit.models import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.models.lvt import CSA, RASA
from mmscalablevit.models.stvit import MapAttention, SuperTokenAttention
from tests import reference, reference_lvt, reference_stvit

OF_SCALABLEVIT = {
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
OF_STVIT = {
    "super tokens, cell 4": lambda: SuperTokenAttention(8, 2, 4),
    "super tokens, cell 3, one head": lambda: SuperTokenAttention(8, 1, 3),
    "super tokens, cell 8": lambda: SuperTokenAttention(8, 4, 8),
    "pixels": lambda: MapAttention(8, 2),
}
OF_LVT = {
    "CSA": lambda: CSA(8, 2),
    "CSA, one head": lambda: CSA(8, 1),
    "RASA": lambda: RASA(8, 2),
    "RASA, r = 2": lambda: RASA(8, 2, 2),
    "RASA, r = 4": lambda: RASA(8, 4, 4),
}
BRUTE_FORCE = {
    **dict.fromkeys(OF_SCALABLEVIT, reference.attention),
    **dict.fromkeys(OF_STVIT, reference_stvit.attention),
    **dict.fromkeys(OF_LVT, reference_lvt.attention),
}
# Whole windows, cells and strides, and rests of them, on either axis and on both.
SIZES = [(1, 1), (1, 6), (1, 9), (5, 3), (7, 7), (7, 10), (8, 8), (8, 12), (8, 15), (9, 7)]
SIZES += [(13, 4), (14, 7), (16, 10)]

each_attention = pytest.mark.parametrize("name", BRUTE_FORCE)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    module = {**OF_SCALABLEVIT, **OF_STVIT, **OF_LVT}[name]()
    for parameter in module.parameters():  # norms and biases at 1 and 0 would hide mistakes
        nn.init.normal_(parameter, std=0.5)
    return module


@each_attention
def test_equals_brute_force(name):
    module = build(name)
    for size in SIZES:
        x = torch.randn(2, *size, 8)
        with torch.no_grad():
            expected = BRUTE_FORCE[name](module, x)
            torch.testing.assert_close(
                module(x), expected, rtol=1e-4, atol=1e-4 * expected.std(), msg=whose(size)
            )


@each_attention
def test_gradients_equal_brute_force(name):
    # In the brute force, too, nothing flows through the associations with super tokens.
    for dtype, rtol, atol in [(torch.float32, 1e-3, 1e-4), (torch.float64, 1e-8, 1e-8)]:
        module = build(name).to(dtype)
        if isinstance(module, SuperTokenAttention):  # associations are computed in float32
            rtol, atol = max(rtol, 1e-5), max(atol, 1e-5)
        for size in [(7, 8), (8, 9), (9, 10)]:
            x = torch.randn(1, *size, 8, dtype=dtype, requires_grad=True)
            seed = torch.randn_like(x)
            wanted = [x, *module.parameters()]
            expected = torch.autograd.grad((BRUTE_FORCE[name](module, x) * seed).sum(), wanted)
            actual = torch.autograd.grad((module(x) * seed).sum(), wanted)
            for a, b in zip(actual, expected, strict=True):
                # The bias of the keys has no gradient but rounding: softmax does not see it.
                near = atol * max(1.0, float(b.abs().max()))
                torch.testing.assert_close(a, b, rtol=rtol, atol=near, msg=whose((dtype, size)))


def whose(case):
    """Puts the case of a loop in front of a message."""
    return lambda message: f"{case}: {message}"
