"""The baseline against the released models, and against the backbone that it is the baseline of."""

from __future__ import annotations

import pytest
import torch

from mmscalablevit import ScalableViT
from mmscalablevit.benchmark.naive import NaiveScalableViT
from mmscalablevit.checkpoints.conversion import convert
from tests import golden

TINY = {
    "embed_dims": [16, 16, 32, 32],
    "depths": [2, 1, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "channel_ratios": [1.25, 0.5, 1.0, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
ALL_STAGES = (0, 1, 2, 3)


@pytest.mark.parametrize(
    "name",
    [
        name if "small" in name else pytest.param(name, marks=pytest.mark.slow)
        for name in golden.golden_names("scalablevit")
    ],
)
def test_equals_the_released_model(name: str) -> None:
    data = golden.load_golden(name)
    released = golden.released_state_dict(golden.released_name(name), int(data["weight_seed"]))
    converted = convert({"model": released})
    with torch.device("meta"):
        model = NaiveScalableViT(converted.arch).eval()
    weights = converted.state_dict.items()
    backbone = {k.removeprefix("backbone."): v for k, v in weights if k.startswith("backbone.")}
    model.load_state_dict(backbone, assign=True)
    maps = []
    for stage in model.stages:
        stage.register_forward_hook(lambda *arguments: maps.append(arguments[-1]))
    with torch.no_grad():
        (last,) = model(golden.golden_image(data))
    maps = [x.transpose(1, 2).unflatten(2, size) for x, size in maps[:3]] + [last]
    deviations = [golden.stage_deviation(data, i, x) for i, x in enumerate(maps)]
    assert max(deviations) < 2e-5, deviations


@pytest.mark.parametrize("size", [(224, 224), (61, 47), (33, 120)], ids=str)
def test_outputs_and_gradients_equal_the_backbones(size: tuple[int, int]) -> None:
    ours = ScalableViT(TINY, out_indices=ALL_STAGES).eval()
    plain = NaiveScalableViT(TINY, out_indices=ALL_STAGES).eval()
    with torch.no_grad():
        for parameter in ours.parameters():  # norms and biases at 1 and 0 would hide mistakes
            parameter.normal_(mean=float(parameter.mean()), std=0.2)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, *size)
    outputs = [model(images) for model in (ours, plain)]
    for a, b in zip(*outputs, strict=True):
        assert b.is_contiguous()
        assert (a - b).abs().max() < 1e-4 * b.std()
    for maps in outputs:
        sum(x.square().mean() for x in maps).backward()
    gradients = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = gradients[name].grad
        # Softmax does not see the bias of the keys: its gradient is nothing but rounding.
        tolerance = 1e-3 * float(expected.abs().max()) + 1e-5
        assert (parameter.grad - expected).abs().max() < tolerance, name


def test_bfloat16_autocast_of_the_backbone_is_as_near_as_the_baselines() -> None:
    plain = NaiveScalableViT(TINY, out_indices=ALL_STAGES).eval()
    ours = ScalableViT(TINY, out_indices=ALL_STAGES).eval()
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 61, 47)
    with torch.no_grad():
        expected = plain(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = [model(images) for model in (ours, plain)]
    for maps in outputs:
        for a, b in zip(maps, expected, strict=True):
            assert (a.float() - b).square().mean().sqrt() < 3e-2 * b.std()
