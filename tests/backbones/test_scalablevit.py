"""What only ScalableViT has; the rest is in test_every_backbone.py."""

import pytest
import torch
from torch import nn

from mmscalablevit import ScalableViT
from mmscalablevit.backbones.layers import PEG
from tests import reference
from tests.backbones.families import ALL_STAGES, FAMILIES, assert_same, tiny

TINY = FAMILIES["scalablevit"].tiny_arch


# Published counts of the released models' bodies, in millions.
@pytest.mark.parametrize(
    ("arch", "millions"), [("small", 25.794), ("base", 74.627), ("large", 100.985)]
)
def test_parameters_equal_the_released_bodies(arch, millions):
    with torch.device("meta"):
        model = ScalableViT(arch)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_norm_eps():
    for name, module in ScalableViT(TINY, out_indices=ALL_STAGES).named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-5 if "reduction" in name else 1e-6), name


@pytest.mark.parametrize(
    ("attentions", "peg"),
    [
        (("SSA", "IWSA"), True),
        (("WSA",), True),
        (("SWSA", "SSA"), True),
        (("WSAWithLEM", "SSA"), False),
        (("IWSA", "SSA"), False),
    ],
)
def test_ablations_equal_brute_force(attentions, peg):
    model = tiny("scalablevit", arch={**TINY, "attentions": attentions, "peg": peg})
    names = [type(block.attn).__name__ for stage in model.stages for block in stage.blocks]
    expected = [attentions[j % len(attentions)] for depth in TINY["depths"] for j in range(depth)]
    assert names == expected
    assert any(isinstance(module, PEG) for module in model.modules()) == peg
    images = torch.randn(1, 3, 65, 40)
    with torch.no_grad():
        assert_same(model(images), reference.backbone(model, images), 1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_ratios": [1.1, 1, 1, 1], "num_heads": [2] * 4}, ["1.1", "17"]),
        ({"spatial_ratios": [8, 4, 2, 0]}, ["'spatial_ratios'", "stage 3"]),
        ({"attentions": ["IWSA", "MSA"]}, ["'MSA'", "SWSA"]),
        ({"attentions": "IWSA"}, ["'attentions'", "list"]),
        ({"window_size": 0}, ["'window_size'"]),
    ],
)
def test_wrong_archs_are_named(change, words):
    with pytest.raises(ValueError) as error:
        ScalableViT({**TINY, **change})
    for word in words:
        assert word in str(error.value)
