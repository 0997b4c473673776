"""What only ScalableViT has; the rest is in test_every_backbone.py."""

import pytest
import torch

from mmscalablevit.models.layers import PEG
from tests import reference
from tests.models.families import FAMILIES, assert_same, tiny

TINY = FAMILIES["scalablevit"].tiny_arch


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
