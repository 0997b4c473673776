import pytest
import torch
from torch import nn

from mmscalablevit import STViT
from mmscalablevit.backbones.stvit import (
    MapAttention,
    SuperTokenAttention,
    gather_neighbors,
    scatter_neighbors,
)
from tests import reference_stvit
from tests.backbones.families import FAMILIES, tiny
from tests.reference_stvit import LiteralSuperTokenAttention

TINY = FAMILIES["stvit"].tiny_arch
SIZES = [(8, 8), (8, 12), (9, 7), (5, 3), (1, 1), (13, 4)]
ATTENTIONS = {
    "cell 4": lambda: SuperTokenAttention(8, 2, 4),
    "cell 3, one head": lambda: SuperTokenAttention(8, 1, 3),
    "cell 8": lambda: SuperTokenAttention(8, 4, 8),
    "pixels": lambda: MapAttention(8, 2),
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
        expected = reference_stvit.attention(module, x)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gradients_equal_brute_force(name):
    # In the brute force, too, nothing flows through the associations.
    module = build(name).double()
    x = torch.randn(1, 9, 10, 8, dtype=torch.float64, requires_grad=True)
    seed = torch.randn_like(x)
    wanted = [x, *module.parameters()]
    expected = torch.autograd.grad((reference_stvit.attention(module, x) * seed).sum(), wanted)
    actual = torch.autograd.grad((module(x) * seed).sum(), wanted)
    for a, b in zip(actual, expected, strict=True):
        # Associations are computed in float32.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(b.abs().max())))


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


# Published counts of the released models with their heads, in millions.
@pytest.mark.parametrize(
    ("arch", "millions"), [("small", 25.496), ("base", 51.691), ("large", 94.971)]
)
def test_parameters_equal_the_released_models(arch, millions):
    with torch.device("meta"):
        model = STViT(arch)
    body = sum(p.numel() for p in model.parameters())
    dims = model.embed_dims[-1]
    head = dims * 1024 + 1024 + 2 * 1024 + 1024 * 1000 + 1000  # convolution, norm, linear layer
    assert (body + head) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_norms_and_their_eps():
    model = STViT(TINY, out_indices=(0, 1, 2, 3), output_norms=True)
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-6, name
        if isinstance(module, nn.BatchNorm2d):
            assert module.eps == 1e-5, name
    assert isinstance(model.norm2, nn.LayerNorm)
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cell_sizes": [8, 4, 1, 0]}, ["'cell_sizes'", "stage 3"]),
        ({"cell_sizes": [8, 4, 1.5, 1]}, ["'cell_sizes'", "stage 2"]),
        ({"layer_scales": [0, 0, -1e-6, 0]}, ["'layer_scales'", "stage 2"]),
        ({"layer_scales": [0, 0, 0, "1e-6"]}, ["'layer_scales'", "stage 3", "'1e-6'"]),
        ({"embed_dims": [15, 16, 32, 32]}, ["halves embed_dims 15"]),
        ({"ffn_ratio": 0}, ["'ffn_ratio'"]),
    ],
)
def test_wrong_archs_are_named(change, words):
    with pytest.raises(ValueError) as error:
        STViT({**TINY, **change})
    for word in words:
        assert word in str(error.value)
