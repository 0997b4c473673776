"""Models of the configs against the released ones: counts, converted weights, logits."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from mmscalablevit.models.complexity import count_complexity
from tests import golden
from tests.leaves import LEAVES, build, load

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
    "lvt": (3.687, None, 0.8618),
    "lvt_cls": (5.521844, None, 0.8888),  # with the auxiliary linear layer
}
# Whole models with the released bodies, in M, from a count of their own.
DENSE = {
    "retinanet_scalablevit-{}_fpn_1x_coco": (36.03, 85.56, 112.63),
    "mask-rcnn_scalablevit-{}_fpn_1x_coco": (45.95, 94.90, 121.38),
    "scalablevit-{}_fpn_4xb4-80k_ade20k-512x512": (30.04, 79.00, 105.48),
    "scalablevit-{}_upernet_8xb2-160k_ade20k-512x512": (56.10, 107.05, 135.52),
}


def leaf(released: str) -> str:
    return f"{released.replace('_cls', '_ca').replace('_', '-')}_8xb128_in1k"


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


def test_counts_of_lvt_without_what_the_print_leaves_out() -> None:
    head = {**load("lvt-ca_8xb128_in1k").model.head, "dense_weight": 0, "dense_score": 0}
    backbone = load("lvt-ca_8xb128_in1k").model.backbone
    with DefaultScope.overwrite_default_scope("mmpretrain"), torch.device("meta"):
        model = MODELS.build({"type": "ImageClassifier", "backbone": backbone, "head": head})
    counts = count_complexity(model, (224, 224))
    assert counts.parameters == 5_264_844
    assert counts.total_macs / 1e6 == pytest.approx(876.3, abs=0.05)
    assert sum(p.numel() for p in model.backbone.parameters()) == 3_429_092


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


def test_a_run_with_the_converted_classifier_gives_the_released_logits(tmp_path) -> None:
    data = golden.load_golden("lvt_token_labels/lvt_cls_224x224")
    weights = golden.released_state_dict("lvt_cls", int(data["weight_seed"]))
    torch.save({"state_dict": convert(weights).state_dict}, tmp_path / "lvt.pth")
    cfg = Config.fromfile(LEAVES["lvt-ca_8xb128_in1k-token-label"])
    cfg.work_dir, cfg.load_from = str(tmp_path), str(tmp_path / "lvt.pth")
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    runner = Runner.from_cfg(cfg)
    runner.register_hook(MatchingCheckpointHook())
    runner.load_or_resume()
    with torch.no_grad():
        logits = runner.model.eval()(golden.golden_image(data), mode="tensor")
    expected = torch.from_numpy(data["logits"])
    assert (logits - expected).abs().max() < 1e-5 * expected.std()


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
