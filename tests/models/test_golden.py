"""The released models' outputs, in every mode that users run."""

import logging

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.cli.compilation import compile_backbone
from tests import golden
from tests.models.families import ALL_STAGES, FAMILIES

log = logging.getLogger(__name__)

FILES = [file for family in FAMILIES for file in golden.golden_names(family)]
# Of each map's std. STViT's associations are sharp, and its maps have few, large channels.
TOLERANCE = {"ScalableViT": 1e-5, "STViT": 5e-5, "LVT": 1e-5}
COMPILED_TOLERANCE = {"ScalableViT": 2e-5, "STViT": 5e-5, "LVT": 2e-5}
# The root of the mean square; STViT's last map is at 7e-2 in one file.
BFLOAT16_TOLERANCE = {"ScalableViT": 3e-2, "STViT": 8e-2, "LVT": 3e-2}

# All sizes of the small ones, and the others on the size that shows most, in the quick tests.
each_file = pytest.mark.parametrize(
    "file",
    [
        file
        if any(word in file for word in ("small", "lvt", "anysize"))
        else pytest.param(file, marks=pytest.mark.slow)
        for file in FILES
    ],
)
# A minute or two each.
each_file_compiled = pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.slow)
        if file.endswith(("small_anysize_200x316", "lvt_anysize_200x316"))
        else pytest.param(file, marks=[pytest.mark.slow, pytest.mark.exhaustive])
        for file in FILES
    ],
)


def released_backbone(file: str) -> nn.Module:
    """The backbone with a golden file's weights, as ``backbone`` of a model.

    It puts out the maps as the file has them: before the norms, but for ScalableViT's last.
    """
    seed = int(golden.load_golden(file)["weight_seed"])
    converted = convert({"model": golden.released_state_dict(golden.released_name(file), seed)})
    model = nn.Module()
    with torch.device("meta"):  # the weights below take the place of random ones
        settings = {"type": converted.model, "arch": converted.arch, "out_indices": ALL_STAGES}
        model.backbone = MODELS.build(settings).eval()
    for i in ALL_STAGES[:3] if converted.model == "ScalableViT" else ALL_STAGES:
        setattr(model.backbone, f"norm{i}", nn.Identity())
    missing, others = model.load_state_dict(converted.state_dict, strict=False, assign=True)
    assert not missing
    of_backbone = {key for key in others if key.startswith("backbone.")}
    assert of_backbone <= {"backbone.norm3.weight", "backbone.norm3.bias"}
    return model


def check(
    file: str, model: nn.Module, tolerances: dict[str, float], *, bfloat16: bool = False
) -> None:
    """Hold the maps of a model's backbone to a golden file."""
    data = golden.load_golden(file)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        maps: tuple[Tensor, ...] = model.backbone(golden.golden_image(data))
    deviations = [
        golden.stage_deviation(data, i, x, root_mean_square=bfloat16) for i, x in enumerate(maps)
    ]
    log.info("%s: %.1e", file, max(deviations))  # shown by --log-cli-level=INFO
    assert max(deviations) < tolerances[type(model.backbone).__name__], deviations


@each_file
def test_equals_the_released_model(file):
    model = released_backbone(file)
    check(file, model, TOLERANCE)
    check(file, model, BFLOAT16_TOLERANCE, bfloat16=True)


@each_file_compiled
@pytest.mark.usefixtures("compiler")
def test_equals_the_released_model_compiled(file):
    model = released_backbone(file)
    compile_backbone(model, inference=True)
    check(file, model, COMPILED_TOLERANCE)


@pytest.mark.exhaustive  # what is compiled is held in float32 above, bfloat16 in eager mode
@each_file_compiled
@pytest.mark.usefixtures("compiler")
def test_is_close_to_the_released_model_compiled_in_bfloat16(file):
    model = released_backbone(file)
    compile_backbone(model, inference=True)
    check(file, model, BFLOAT16_TOLERANCE, bfloat16=True)
