"""What only STViT has; the rest is in test_every_attention.py and test_every_backbone.py."""

import pytest
import torch
from torch import nn

from mmscalablevit import STViT
from mmscalablevit.models.stvit import SuperTokenAttention, gather_neighbors, scatter_neighbors
from tests.models.families import FAMILIES, tiny
from tests.reference_stvit import LiteralSuperTokenAttention

TINY = FAMILIES["stvit"].tiny_arch


@pytest.mark.parametrize("size", [(16, 24), (15, 21)], ids=str)
@pytest.mark.parametrize("cell_size", [4, 8])
def test_equals_the_literal_convolutions(cell_size, size):
    module = SuperTokenAttention(16, 2, cell_size)
    literal = LiteralSuperTokenAttention(module)
    x = torch.randn(2, *size, 16, requires_grad=True)
    actual, expected = module(x), literal(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    seed = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((actual * seed).sum(), x)
    (expected_gradient,) = torch.autograd.grad((expected * seed).sum(), x)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


def test_associations_sum_up_to_one_and_carry_no_gradient():
    module = SuperTokenAttention(8, 2, 4)
    pixels = module.split_cells(torch.randn(2, 10, 7, 8))
    weights = module.associate(pixels)
    assert weights.shape == (2, 3, 2, 16, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 2, 16))
    assert not [name for name, _ in module.named_buffers()]  # no constant kernels


def test_scatter_is_the_adjoint_of_gather():
    cells = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    contributions = torch.randn(2, 4, 5, 9, 3, dtype=torch.float64)
    left = (gather_neighbors(cells) * contributions).sum()
    right = (cells * scatter_neighbors(contributions)).sum()
    torch.testing.assert_close(left, right)


def test_neighbors_are_in_row_major_order_with_zeros_outside():
    cells = torch.arange(1.0, 7).reshape(1, 2, 3, 1)
    neighbors = gather_neighbors(cells)[..., 0]
    assert neighbors[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]
    assert neighbors[0, 1, 1].tolist() == [1, 2, 3, 4, 5, 6, 0, 0, 0]


def test_outputs_have_no_norms_unless_asked_for():
    assert not [name for name in STViT(TINY).state_dict() if name.startswith("norm")]


def test_batch_norms_become_those_that_are_asked_for():
    model = STViT(TINY, norm_cfg={"type": "SyncBN", "requires_grad": False})
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 4 + 3 + 7  # stem, downsampling, blocks
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms)
    assert not any(p.requires_grad for module in norms for p in module.parameters())


def test_layer_scale_starts_where_the_arch_says():
    model = STViT(TINY)
    for i, stage in enumerate(model.stages):
        for block in stage.blocks:
            for scale in (block.scale1, block.scale2):
                if i < 2:
                    assert isinstance(scale, nn.Identity)
                else:
                    assert (scale.weight == 1e-6).all()


def test_synchronised_batch_norm_takes_over_without_a_change():
    model = tiny("stvit")
    images = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        expected = model(images)
        converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for a, b in zip(converted(images), expected, strict=True):
            torch.testing.assert_close(a, b)
