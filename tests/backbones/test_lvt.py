import pytest
import torch
from torch import nn

from mmscalablevit import LVT
from mmscalablevit.backbones.lvt import CSA, RASA, ConvFFN
from tests import reference_lvt
from tests.backbones.families import FAMILIES

TINY = FAMILIES["lvt"].tiny_arch
SIZES = [(8, 8), (7, 10), (5, 3), (1, 1), (1, 6)]
ATTENTIONS = {
    "CSA": lambda: CSA(8, 2),
    "CSA, one head": lambda: CSA(8, 1),
    "RASA": lambda: RASA(8, 2),
    "RASA, r = 2": lambda: RASA(8, 2, 2),
    "RASA, r = 4": lambda: RASA(8, 4, 4),
}


def build(name):
    torch.manual_seed(0)
    module = ATTENTIONS[name]()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_equals_brute_force(name, size):
    module = build(name)
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        expected = reference_lvt.attention(module, x)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gradients_equal_brute_force(name):
    module = build(name).double()
    x = torch.randn(1, 7, 8, 8, dtype=torch.float64, requires_grad=True)
    seed = torch.randn_like(x)
    wanted = [x, *module.parameters()]
    expected = torch.autograd.grad((reference_lvt.attention(module, x) * seed).sum(), wanted)
    actual = torch.autograd.grad((module(x) * seed).sum(), wanted)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8 * max(1.0, float(b.abs().max())))


def test_parameters_equal_the_released_body():
    with torch.device("meta"):
        model = LVT(out_indices=(0, 1, 2, 3))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(3.430, abs=5e-4)


def test_norm_eps():
    for name, module in LVT(TINY, out_indices=(0, 1, 2, 3)).named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-5, name


def test_initialisation():
    torch.manual_seed(0)
    model = LVT().requires_grad_(False)
    csa, rasa = model.stages[0].blocks[0].attn, model.stages[2].blocks[0].attn
    assert csa.value.weight.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert csa.logits.weight.std() == pytest.approx(0.02, rel=0.05)
    # Kaiming uniform: a variance of 2 / fan_in, with a fan_in of 9
    assert rasa.atrous_kernel.std() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert rasa.atrous_kernel.abs().max() <= (6 / 9) ** 0.5
    assert rasa.reduction.conv.weight.std() == pytest.approx((2 / (4 * 160)) ** 0.5, rel=0.05)
    projection = model.stages[0].patch_embed.projection
    assert projection.weight.std() == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.05)
    assert not projection.bias.any()


def test_the_first_stage_has_a_plain_ffn_and_the_others_a_convolutional_one():
    model = LVT(TINY)
    for i, stage in enumerate(model.stages):
        for block in stage.blocks:
            assert isinstance(block.attn, CSA if i == 0 else RASA)
            assert isinstance(block.ffn, ConvFFN) == (i > 0)
            assert block.ffn.fc1.out_features == TINY["embed_dims"][i] * TINY["ffn_ratios"][i]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spatial_ratios": [1, 4, 2, 0]}, ["'spatial_ratios'", "stage 3"]),
        ({"spatial_ratios": [8, 4, 2, 1]}, ["CSA", "stage 0", "8"]),
        ({"attentions": ["CSA", "RASA", "MSA", "RASA"]}, ["'MSA'", "stage 2", "RASA"]),
        ({"ffn_ratios": [4, 8, 0, 4]}, ["'ffn_ratios'", "stage 2"]),
    ],
)
def test_wrong_archs_are_named(change, words):
    with pytest.raises(ValueError) as error:
        LVT({**TINY, **change})
    for word in words:
        assert word in str(error.value)
