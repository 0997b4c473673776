"""What the backbones refuse, and that they name it."""

import math

import pytest
import torch

from tests.models.families import FAMILIES, each_family, tiny

OF_SCALABLEVIT = [
    ({"channel_ratios": [1.1, 1, 1, 1], "num_heads": [2] * 4}, ["1.1", "17"]),
    ({"spatial_ratios": [8, 4, 2, 0]}, ["'spatial_ratios'", "stage 3"]),
    ({"attentions": ["IWSA", "MSA"]}, ["'MSA'", "SWSA"]),
    ({"attentions": "IWSA"}, ["'attentions'", "list"]),
    ({"attentions": ["IWSA", None]}, ["'attentions'", "None"]),
    ({"window_size": 0}, ["'window_size'"]),
    ({"channel_ratios": [0.01, 1, 1, 1]}, ["'channel_ratios'", "stage 0", "no channel"]),
    ({"ffn_ratio": 0.03}, ["'ffn_ratio'", "stage 0", "no channel"]),
]
OF_STVIT = [
    ({"cell_sizes": [8, 4, 1, 0]}, ["'cell_sizes'", "stage 3"]),
    ({"cell_sizes": [8, 4, 1.5, 1]}, ["'cell_sizes'", "stage 2"]),
    ({"layer_scales": [0, 0, -1e-6, 0]}, ["'layer_scales'", "stage 2"]),
    ({"layer_scales": [0, 0, 0, "1e-6"]}, ["'layer_scales'", "stage 3", "'1e-6'"]),
    ({"embed_dims": [15, 16, 32, 32]}, ["halves embed_dims 15"]),
    ({"ffn_ratio": 0}, ["'ffn_ratio'"]),
    ({"ffn_ratio": 0.03}, ["'ffn_ratio'", "stage 0", "no channel"]),
]
OF_LVT = [
    ({"spatial_ratios": [1, 4, 2, 0]}, ["'spatial_ratios'", "stage 3"]),
    ({"spatial_ratios": [8, 4, 2, 1]}, ["CSA", "stage 0", "8"]),
    ({"attentions": ["CSA", "RASA", "MSA", "RASA"]}, ["'MSA'", "stage 2", "RASA"]),
    ({"ffn_ratios": [4, 8, 0, 4]}, ["'ffn_ratios'", "stage 2"]),
    ({"ffn_ratios": [4, 8, 4, 0.03]}, ["'ffn_ratios'", "stage 3", "no channel"]),
]
OF_ALL = [
    ({"depth": [1]}, ["'depth'", "'depths'"]),
    ({"colour": 1}, ["'colour'", "embed_dims"]),
    ({"depths": [2, 2, 2]}, ["depths 3", "embed_dims 4"]),
    ({"depths": [2, 0, 2, 2]}, ["'depths'", "above 0"]),
    ({"depths": 2}, ["'depths'", "one entry a stage"]),
    ({"num_heads": [3, 2, 2, 4]}, ["16", "stage 0", "3"]),
]
CHANGES = {"scalablevit": OF_SCALABLEVIT, "stvit": OF_STVIT, "lvt": OF_LVT}


def assert_refused(family, arch, words):
    with pytest.raises(ValueError) as error:
        FAMILIES[family].backbone(arch)
    for word in words:
        assert word in str(error.value)


@each_family
def test_wrong_archs_are_named(family):
    tiny_arch = FAMILIES[family].tiny_arch
    for change, words in [*OF_ALL, *CHANGES[family]]:
        assert_refused(family, {**tiny_arch, **change}, words)
    first = next(iter(FAMILIES[family].archs))
    assert_refused(family, {"base": first, "depth": [1]}, ["'depth'", "'depths'"])
    assert_refused(family, {"base": "tiny"}, ["'tiny'", f"'{first}'"])
    assert_refused(family, {"base": first, "depths": [2, 2]}, ["depths 2", "embed_dims 4"])


@each_family
def test_missing_keys_are_named(family):
    arch = FAMILIES[family].tiny_arch
    for key in arch:
        assert_refused(family, {k: v for k, v in arch.items() if k != key}, [f"lacks {key}"])


@each_family
def test_wrong_types_are_named(family):
    kind = FAMILIES[family]
    arch = {**kind.tiny_arch, **kind.optional_keys}
    # What no key takes, neither as a whole nor as the entry of a stage.
    for wrong in (None, True, "4", -1, math.nan, math.inf, [], {}):
        for key, value in arch.items():
            if value is not wrong:  # True is right for one
                assert_refused(family, {**arch, key: wrong}, [f"'{key}'"])
            if key in kind.tiny_arch:
                for stage in range(4):
                    stages = [*value[:stage], wrong, *value[stage + 1 :]]
                    assert_refused(family, {**arch, key: stages}, [f"'{key}'", f"stage {stage}"])


@each_family
def test_wrong_settings_are_named(family):
    kind = FAMILIES[family]
    for settings, words in [
        ({"arch": "tiny"}, ["'tiny'", "known are"]),
        ({"out_indices": (4,)}, ["out_indices 4", "0 to 3"]),
        ({"out_indices": (0, 0)}, ["at most once"]),
        ({"out_indices": ()}, ["at least"]),
        ({"frozen_stages": 4}, ["frozen_stages 4", "3"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate"]),
    ]:
        with pytest.raises(ValueError) as error:
            kind.backbone(**{"arch": kind.tiny_arch, **settings})
        for word in words:
            assert word in str(error.value)


@each_family
def test_a_mistyped_argument_is_refused(family):
    kind = FAMILIES[family]
    with pytest.raises(TypeError, match="drop_path"):
        kind.backbone(kind.tiny_arch, drop_path=0.1)


@each_family
def test_wrong_inputs_are_named(family):
    model = tiny(family)
    for shape, words in [
        ((1, 3, 31, 64), ["at least 32", "31x64"]),
        ((1, 4, 64, 64), ["(B, 3, H, W)", "(1, 4, 64, 64)"]),
        ((3, 64, 64), ["(B, 3, H, W)"]),
    ]:
        with pytest.raises(ValueError) as error:
            model(torch.randn(shape))
        for word in [*words, type(model).__name__]:
            assert word in str(error.value)


@each_family
def test_weights_of_another_backbone_are_refused_and_none_is_accepted(family):
    kind, arch = FAMILIES[family].backbone, FAMILIES[family].tiny_arch
    kind(arch, pretrained=None)
    with pytest.raises(ValueError, match=r"'torchvision://resnet50'.*pretrained=None.*init_cfg"):
        kind(arch, pretrained="torchvision://resnet50")
