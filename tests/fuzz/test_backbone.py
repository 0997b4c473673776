"""Backbones of any arch and size against brute force, and archs that something is wrong with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmscalablevit import ScalableViT
from mmscalablevit.models.scalablevit import ATTENTIONS
from tests import reference
from tests.fuzz import examples
from tests.models.families import FAMILIES, each_family

CHANNEL_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@st.composite
def archs(draw: st.DrawFn) -> dict[str, Any]:
    """Architectures of one to four stages."""
    stages = draw(st.integers(1, 4))
    heads = draw(st.lists(st.integers(1, 4), min_size=stages, max_size=stages))
    widths = [count * draw(st.integers(1, 8)) for count in heads]
    ratios = [
        draw(
            st.sampled_from([r for r in CHANNEL_RATIOS if (width * r).is_integer() and not
                             int(width * r) % count])
        )
        for width, count in zip(widths, heads, strict=True)
    ]  # fmt: skip
    return {
        "embed_dims": widths,
        "depths": draw(st.lists(st.integers(1, 2), min_size=stages, max_size=stages)),
        "num_heads": heads,
        "channel_ratios": ratios,
        "spatial_ratios": draw(st.lists(st.integers(1, 8), min_size=stages, max_size=stages)),
        "attentions": draw(st.lists(st.sampled_from(list(ATTENTIONS)), min_size=1, max_size=3)),
        "peg": draw(st.booleans()),
        "window_size": draw(st.integers(1, 9)),
        "ffn_ratio": draw(st.sampled_from([1.0, 4.0])),
    }


@pytest.mark.slow
@examples(60)
@given(
    arch=archs(),
    size=st.tuples(st.integers(32, 61), st.integers(32, 61)),
    channels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_a_backbone_equals_brute_force(
    arch: dict[str, Any], size: tuple[int, int], channels: int, seed: int
) -> None:
    stages = range(len(arch["depths"]))
    model = ScalableViT(arch, in_channels=channels, out_indices=tuple(stages)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases at 1 and 0 would hide mistakes
            scale = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        images = torch.randn(2, channels, *size)
        outputs, expected = model(images), reference.backbone(model, images)
    for output, truth in zip(outputs, expected, strict=True):
        tolerance = 2e-4 * max(float(truth.abs().max()), 1e-3)
        torch.testing.assert_close(output, truth, rtol=1e-3, atol=tolerance)


# What a user may write where a number, a list or a name belongs.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.floats(-2, 8),
    st.sampled_from(["", "SSA", "IWSA", "XSA", "small", "7", float("nan"), float("inf")]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=5), st.dictionaries(st.text(), SCALARS))


@pytest.mark.slow
@each_family
@examples(200)
@given(changes=st.data())
def test_a_wrong_arch_is_told_and_never_a_traceback_from_inside(
    family: str, changes: st.DataObject
) -> None:
    """Whatever stands in an arch, it is built, or refused by a ValueError or TypeError."""
    kind = FAMILIES[family]
    arch = {**kind.tiny_arch, **kind.optional_keys}
    if family == "scalablevit":
        arch = changes.draw(archs())
    wrong: dict[str, Any] = dict(arch)
    for key in changes.draw(st.lists(st.sampled_from(list(arch)), min_size=1, max_size=3)):
        if changes.draw(st.booleans()):
            wrong[key] = changes.draw(VALUES)
        elif isinstance(wrong.get(key), list) and wrong[key]:
            place = changes.draw(st.integers(0, len(wrong[key]) - 1))
            wrong[key] = [*wrong[key][:place], changes.draw(SCALARS), *wrong[key][place + 1 :]]
        else:
            wrong.pop(key, None)
    try:
        with torch.device("meta"):
            model = kind.backbone(wrong)
    except (ValueError, TypeError) as error:
        # the message names what is wrong: an entry of the arch, or the number of stages
        assert any(key in str(error) for key in (*arch, "arch", "out_indices")), error
    else:
        assert model.embed_dims == tuple(wrong["embed_dims"])
