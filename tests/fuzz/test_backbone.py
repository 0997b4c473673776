"""Backbones, attentions and windows of any arch and size against brute force."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from mmscalablevit import ScalableViT
from mmscalablevit.models import IWSA, SSA, SWSA, WSA, WSAWithLEM
from mmscalablevit.models.scalablevit import ATTENTIONS
from mmscalablevit.models.windows import join_windows, split_windows
from tests import reference
from tests.fuzz import examples
from tests.models.families import FAMILIES, each_family

CHANNEL_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
WINDOW_ATTENTIONS = (WSA, IWSA, WSAWithLEM, SWSA)


def randomize(module: nn.Module, seed: int) -> None:
    """Draw all parameters: norms and biases at 1 and 0 would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 2e-4 * max(float(expected.abs().max()), 1e-3)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=tolerance)


@st.composite
def archs(draw: st.DrawFn) -> dict[str, Any]:
    """Architectures of one to four stages."""
    stages = draw(st.integers(1, 4))
    heads = draw(st.lists(st.integers(1, 4), min_size=stages, max_size=stages))
    widths = [4 * count * draw(st.integers(1, 2)) for count in heads]
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
        "spatial_ratios": draw(st.lists(st.integers(1, 4), min_size=stages, max_size=stages)),
        "attentions": draw(st.lists(st.sampled_from(list(ATTENTIONS)), min_size=1, max_size=3)),
        "peg": draw(st.booleans()),
        "window_size": draw(st.integers(1, 8)),
        "ffn_ratio": draw(st.sampled_from([0.5, 1.0, 4.0])),
    }


@pytest.mark.slow
@examples(60)
@given(
    arch=archs(),
    batch=st.integers(1, 2),
    height=st.integers(32, 61),
    width=st.integers(32, 61),
    channels=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_a_backbone_equals_brute_force(
    arch: dict[str, Any], batch: int, height: int, width: int, channels: int, seed: int
) -> None:
    stages = range(len(arch["depths"]))
    model = ScalableViT(arch, in_channels=channels, out_indices=tuple(stages)).eval()
    randomize(model, seed)
    images = torch.randn(batch, channels, height, width)
    with torch.no_grad():
        outputs, expected = model(images), reference.backbone(model, images)
    assert len(outputs) == len(expected) == len(stages)
    for output, truth in zip(outputs, expected, strict=True):
        assert output.is_contiguous()
        assert_close(output, truth)


@examples(150)
@given(
    kind=st.sampled_from(WINDOW_ATTENTIONS),
    heads=st.integers(1, 4),
    head_width=st.integers(1, 6),
    window=st.integers(1, 9),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_window_attention_equals_brute_force(
    kind: type[WSA],
    heads: int,
    head_width: int,
    window: int,
    size: tuple[int, int],
    batch: int,
    seed: int,
) -> None:
    module = kind(heads * head_width, heads, window).eval()
    randomize(module, seed)
    x = torch.randn(batch, *size, heads * head_width)
    with torch.no_grad():
        assert_close(module(x), reference.attention(module, x))


@examples(150)
@given(
    heads=st.integers(1, 4),
    head_width=st.sampled_from([4, 8]),
    channel_ratio=st.sampled_from(CHANNEL_RATIOS),
    spatial_ratio=st.integers(1, 8),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_scalable_attention_equals_brute_force(
    heads: int,
    head_width: int,
    channel_ratio: float,
    spatial_ratio: int,
    size: tuple[int, int],
    batch: int,
    seed: int,
) -> None:
    module = SSA(heads * head_width, heads, channel_ratio, spatial_ratio).eval()
    randomize(module, seed)
    x = torch.randn(batch, *size, heads * head_width)
    with torch.no_grad():
        assert_close(module(x), reference.attention(module, x))


@examples(150)
@given(
    shape=st.tuples(*[st.integers(1, high) for high in (3, 20, 20, 4)]),
    window=st.integers(1, 9),
)
def test_windows_lose_and_move_no_token(shape: tuple[int, ...], window: int) -> None:
    x = 1 + torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    windows = split_windows(x, window)
    assert torch.equal(join_windows(2 * windows, window, shape[:3]), 2 * x)
    assert windows.shape[1] == window**2
    assert int((windows != 0).sum()) == x.numel()


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
@examples(400)
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


@examples(100)
@given(
    out_indices=st.lists(st.integers(-6, 6), max_size=5),
    frozen_stages=st.integers(-3, 5),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_arguments_and_sizes_are_taken_or_refused(
    out_indices: list[int], frozen_stages: int, size: tuple[int, int]
) -> None:
    arch = {
        "embed_dims": [4, 4, 4, 4],
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "channel_ratios": [1.0, 1.0, 1.0, 1.0],
        "spatial_ratios": [8, 4, 2, 1],
    }
    wanted = {index % 4 for index in out_indices if -4 <= index < 4}
    right = len(wanted) == len(out_indices) > 0 and -1 <= frozen_stages < 4
    try:
        model = ScalableViT(arch, out_indices=out_indices, frozen_stages=frozen_stages)
    except ValueError:
        assert not right
        return
    assert right
    assume(wanted)
    images = torch.rand(1, 3, *size)
    if min(size) < 32:
        with pytest.raises(ValueError, match=f"not {size[0]}x{size[1]}"):
            model(images)
        return
    outputs = model(images)
    assert len(outputs) == len(wanted)
    for output, stage in zip(outputs, sorted(wanted), strict=True):
        # ceil(H / 4), then each side halved and rounded up
        expected = [-(-side // (4 * 2**stage)) for side in size]
        assert list(output.shape) == [1, 4, *expected]
