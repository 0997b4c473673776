"""The variants of ScalableViT-S in Tables 5(a), 5(b) and 7, as the paper describes them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmscalablevit.models.scalablevit import PEG

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFICATION = CONFIGS / "classification/scalablevit"
SEGMENTATION = CONFIGS / "segmentation/scalablevit"

# By name: the attentions of the blocks in turn, whether there is a PEG, r_c of each stage, and
# whether the paper prints an mIoU.
RATIOS = (1.25, 1.25, 1.25, 1)
VARIANTS = {
    "wsa": (("WSA",), True, RATIOS, True),
    "iwsa": (("IWSA",), True, RATIOS, True),
    "ssa": (("SSA",), True, RATIOS, True),
    "ssa-rc1": (("SSA",), True, (1, 1, 1, 1), True),
    "swsa-ssa": (("SWSA", "SSA"), True, RATIOS, False),
    "ssa-iwsa": (("SSA", "IWSA"), True, RATIOS, False),
    "wsa-ssa-nopeg": (("WSA", "SSA"), False, RATIOS, True),
    "wsa-ssa": (("WSA", "SSA"), True, RATIOS, True),
    "lem-ssa-nopeg": (("WSAWithLEM", "SSA"), False, RATIOS, False),
    "iwsa-ssa-nopeg": (("IWSA", "SSA"), False, RATIOS, True),
    "lem-ssa": (("WSAWithLEM", "SSA"), True, RATIOS, True),
}
WITH_MIOU = [name for name, (*_, miou) in VARIANTS.items() if miou]
WIDTHS, DEPTHS, HEADS = (64, 128, 256, 512), (2, 2, 20, 2), (2, 4, 8, 16)


def classifier(name: str) -> Path:
    return CLASSIFICATION / f"scalablevit-small{name and '-' + name}_8xb128_in1k.py"


def segmentor(name: str) -> Path:
    return SEGMENTATION / f"scalablevit-s{name and '-' + name}_fpn_4xb4-80k_ade20k-512x512.py"


@functools.cache
def build_backbone(path: Path) -> nn.Module:
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        return MODELS.build(cfg.model.backbone)


def parameters(name: str) -> int:
    return sum(p.numel() for p in build_backbone(classifier(name)).parameters())


PATHS = [classifier(name) for name in VARIANTS] + [segmentor(name) for name in WITH_MIOU]


def test_every_variant_is_listed() -> None:
    found = {*CLASSIFICATION.glob("scalablevit-small-*.py"), *SEGMENTATION.glob("*-s-*.py")}
    assert found == set(PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_leaf_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 15


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_backbone(path: Path) -> None:
    dense = path.parent == SEGMENTATION
    name = next(name for name in VARIANTS if path in (classifier(name), segmentor(name)))
    attentions, peg, ratios, _ = VARIANTS[name]
    backbone = build_backbone(path)
    assert tuple(backbone.out_indices) == ((0, 1, 2, 3) if dense else (3,))
    assert backbone.stages[-1].blocks[-1].drop_path.drop_prob == 0.2
    for stage, width, depth, heads, ratio in zip(
        backbone.stages, WIDTHS, DEPTHS, HEADS, ratios, strict=True
    ):
        assert isinstance(stage.peg, PEG) is peg
        assert len(stage.blocks) == depth
        for i, block in enumerate(stage.blocks):
            attention = block.attn
            assert type(attention).__name__ == attentions[i % len(attentions)]
            assert attention.num_heads == heads
            assert attention.proj.out_features == width
            if type(attention).__name__ == "SSA":
                assert attention.q.out_features == int(width * ratio)
            else:
                assert attention.window_size == 7


@pytest.mark.parametrize("name", VARIANTS)
def test_a_classifier_has_its_models_recipe(name: str) -> None:
    variant, model = Config.fromfile(classifier(name)), Config.fromfile(classifier(""))
    variant.model.backbone.arch = model.model.backbone.arch
    variant.pop("arch")
    assert variant.to_dict() == model.to_dict()


@pytest.mark.parametrize("name", WITH_MIOU)
def test_a_segmentor_has_its_models_recipe_and_its_classifiers_weights(name: str) -> None:
    variant, model = Config.fromfile(segmentor(name)), Config.fromfile(segmentor(""))
    assert variant.model.backbone.arch == Config.fromfile(classifier(name)).model.backbone.arch
    weights = variant.model.backbone.init_cfg
    assert weights.pop("checkpoint") == f"work_dirs/{classifier(name).stem}/epoch_300.pth"
    model.model.backbone.init_cfg.pop("checkpoint")
    variant.model.backbone.arch = model.model.backbone.arch
    variant.pop("arch")
    assert variant.to_dict() == model.to_dict()


def test_sizes_differ_by_what_the_modules_hold() -> None:
    # A depth-wise 3x3 convolution has ten parameters a channel.
    blocks = sum(10 * width * depth for width, depth in zip(WIDTHS, DEPTHS, strict=True))
    assert parameters("iwsa") - parameters("wsa") == blocks
    assert parameters("") - parameters("wsa-ssa") == blocks // 2
    assert parameters("lem-ssa") == parameters("") == parameters("ssa-iwsa")
    assert parameters("") - parameters("iwsa-ssa-nopeg") == 10 * sum(WIDTHS)
    assert parameters("lem-ssa") - parameters("lem-ssa-nopeg") == 10 * sum(WIDTHS)
    assert parameters("wsa-ssa") - parameters("wsa-ssa-nopeg") == 10 * sum(WIDTHS)
    # Shifted windows have a bias for each of 13 x 13 offsets in every second block's heads.
    biases = sum(13**2 * heads * depth // 2 for heads, depth in zip(HEADS, DEPTHS, strict=True))
    assert parameters("swsa-ssa") - parameters("wsa-ssa") == biases


def test_the_position_bias_takes_no_weight_decay() -> None:
    rules = Config.fromfile(classifier("swsa-ssa")).optim_wrapper.paramwise_cfg.custom_keys
    assert rules["relative_position_bias"].decay_mult == 0
    names = dict(build_backbone(classifier("swsa-ssa")).named_parameters())
    assert sum("relative_position_bias" in name for name in names) == sum(DEPTHS) // 2
