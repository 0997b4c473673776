"""Models of the configs against the released ones: counts, converted weights, logits."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.models.complexity import count_complexity
from tests import golden
from tests.leaves import build, load

# By the released names: parameters in M, and multiply-accumulates in G without and with attention's
# products, counted on the released models; of STViT and LVT with the products alone, and without
# the constant convolutions that this package has not.
CLASSIFIERS = {
    "scalablevit_small": (32.000, 4.09, 4.27),
    "scalablevit_base": (81.882, 8.56, 8.80),
    "scalablevit_large": (109.289, 14.68, 14.99),
    "stvit_small": (25.496, None, 4.34),
    "stvit_base": (51.691, None, 9.82),
    "stvit_large": (94.971, None, 15.54),
    "lvt": (3.430 - 2 * (64 + 64 + 160) / 1e6 + 0.257, None, 0.86),
}
# Whole models with the released bodies, in M, from a count of their own.
DENSE = {
    "retinanet_scalablevit-{}_fpn_1x_coco": (36.03, 85.56, 112.63),
    "mask-rcnn_scalablevit-{}_fpn_1x_coco": (45.95, 94.90, 121.38),
    "scalablevit-{}_fpn_4xb4-80k_ade20k-512x512": (30.04, 79.00, 105.48),
    "scalablevit-{}_upernet_8xb2-160k_ade20k-512x512": (56.10, 107.05, 135.52),
}


def leaf(released: str) -> str:
    return f"{released.replace('_', '-')}_8xb128_in1k"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_counts(name: str) -> None:
    parameters, without_products, everything = CLASSIFIERS[name]
    counts = count_complexity(build(leaf(name)), (224, 224))
    assert counts.parameters / 1e6 == pytest.approx(parameters, abs=1e-3)
    assert counts.total_macs / 1e9 == pytest.approx(everything, abs=5e-3)
    if without_products:
        assert counts.paper_macs / 1e9 == pytest.approx(without_products, abs=5e-3)


def test_counts_at_384_pixels() -> None:
    for size, macs in {"small": 14.08, "base": 31.35, "large": 49.58}.items():
        counts = count_complexity(build(f"stvit-{size}_8xb64_in1k-384px"), (384, 384))
        assert counts.parameters / 1e6 == pytest.approx(CLASSIFIERS[f"stvit_{size}"][0], abs=1e-3)
        assert counts.total_macs / 1e9 == pytest.approx(macs, abs=5e-3)


def test_parameters_of_detectors_and_segmentors() -> None:
    for name, expected in DENSE.items():
        for size, millions in zip("sbl", expected, strict=True):
            parameters = sum(p.numel() for p in build(name.format(size)).parameters())
            assert parameters / 1e6 == pytest.approx(millions, abs=0.01), (name, size)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_converted_checkpoint_fills_the_model_with_nothing_left_over(name: str) -> None:
    with torch.device("meta"):
        released = {k: torch.empty(shape) for k, shape in golden.released_shapes(name).items()}
    shapes = {key: value.shape for key, value in build(leaf(name)).state_dict().items()}
    converted = convert(released).state_dict
    assert {key: value.shape for key, value in converted.items()} == shapes


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("scalablevit_small_224x224", 1e-5), ("stvit_small_224x224", 5e-5), ("lvt_224x224", 1e-5)],
)
def test_the_converted_model_gives_the_released_logits(name: str, tolerance: float) -> None:
    data, released = golden.load_golden(name), golden.released_name(name)
    weights = golden.released_state_dict(released, int(data["weight_seed"]))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build({"data_preprocessor": None, **load(leaf(released)).model}).eval()
    model.load_state_dict(convert(weights).state_dict)
    with torch.no_grad():
        logits = model(golden.golden_image(data), mode="tensor")
    expected = torch.from_numpy(data["logits"])
    assert (logits - expected).abs().max() < tolerance * expected.std()
