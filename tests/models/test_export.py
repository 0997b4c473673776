"""One graph serves all sizes: export with free batch, height and width."""

import pytest
import torch
from torch.export import Dim

from tests.models.families import FAMILIES, assert_same, each_family, tiny

OTHERS = [(1, 33, 64), (3, 64, 33), (2, 112, 150)]


@pytest.mark.slow
@each_family
def test_an_exported_backbone_serves_other_sizes(family):
    check_export(family, tiny(family))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("attention", ["WSA", "WSAWithLEM", "SWSA"])
def test_so_do_the_attentions_of_the_ablations(attention):
    arch = {**FAMILIES["scalablevit"].tiny_arch, "attentions": [attention, "SSA"]}
    check_export("scalablevit", tiny("scalablevit", arch=arch))


def check_export(family, model):
    free = {"x": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    exported = torch.export.export(
        model, (torch.randn(2, 3, 61, 77),), dynamic_shapes=free
    ).module()
    for batch, height, width in OTHERS:
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            assert_same(exported(images), model(images), 1e-5)
