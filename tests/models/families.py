"""The backbones, each with a tiny architecture and its brute-force reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mmscalablevit import LVT, ScalableViT, STViT
from mmscalablevit.models import scalablevit, stvit
from mmscalablevit.models.pyramid import PyramidBackbone
from tests import reference, reference_lvt, reference_stvit

ALL_STAGES = (0, 1, 2, 3)


class Family(NamedTuple):
    """A backbone, what builds a small one, and what computes its outputs the slow way.

    ``archs`` has the published count of each architecture's parameters, in millions;
    ``optional_keys`` what an architecture may have beside those of the tiny one, with defaults.
    """

    backbone: type[PyramidBackbone]
    archs: dict[str, float]
    tiny_arch: dict[str, Any]
    optional_keys: dict[str, Any]
    settings: dict[str, Any]
    reference: Callable[[Any, Tensor], list[Tensor]]


FAMILIES = {
    "scalablevit": Family(
        ScalableViT,
        {"small": 25.794, "base": 74.627, "large": 100.985},
        {
            "embed_dims": [16, 16, 32, 32],
            "depths": [2, 1, 2, 2],
            "num_heads": [1, 2, 2, 4],
            "channel_ratios": [1.25, 0.5, 1.0, 1.0],
            "spatial_ratios": [8, 4, 2, 1],
        },
        scalablevit.DEFAULTS,
        {},
        reference.backbone,
    ),
    "stvit": Family(
        STViT,
        {"small": 25.496, "base": 51.691, "large": 94.971},
        {
            "embed_dims": [16, 16, 32, 32],
            "depths": [2, 1, 2, 2],
            "num_heads": [1, 2, 2, 4],
            "cell_sizes": [8, 4, 1, 1],
            "layer_scales": [0.0, 0.0, 1e-6, 1e-6],
        },
        stvit.DEFAULTS,
        {"output_norms": True},
        reference_stvit.backbone,
    ),
    "lvt": Family(
        LVT,
        {"lvt": 3.430},
        {
            "embed_dims": [16, 16, 32, 32],
            "depths": [2, 1, 2, 2],
            "num_heads": [1, 2, 2, 4],
            "ffn_ratios": [4, 8, 4, 4],
            "attentions": ["CSA", "RASA", "RASA", "RASA"],
            "spatial_ratios": [1, 4, 2, 1],
        },
        {},
        {},
        reference_lvt.backbone,
    ),
}


each_family = pytest.mark.parametrize("family", FAMILIES)


def tiny(family: str, **settings: Any) -> PyramidBackbone:
    """A small model in evaluation mode, all of its weights and statistics random."""
    torch.manual_seed(0)
    kind = FAMILIES[family]
    arguments = {"arch": kind.tiny_arch, "out_indices": ALL_STAGES, **kind.settings, **settings}
    model = kind.backbone(**arguments).eval()
    for parameter in model.parameters():  # norms and biases at 1 and 0 would hide mistakes
        nn.init.normal_(parameter, mean=parameter.detach().mean(), std=0.2)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.2)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    return model


def assert_same(actual, expected, tolerance):
    """Same shapes, and no deviation above a fraction of each map's std."""
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.std()
