"""What only LVT has; the rest is in test_every_attention.py and test_every_backbone.py."""

import pytest
import torch

from mmscalablevit import LVT
from mmscalablevit.models.lvt import CSA, RASA, ConvFFN
from tests.models.families import FAMILIES

TINY = FAMILIES["lvt"].tiny_arch


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
