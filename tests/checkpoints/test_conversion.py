import pytest
import torch

from mmscalablevit import ScalableViT
from mmscalablevit.checkpoints.conversion import convert
from tests import golden


@pytest.fixture(scope="module")
def released():
    return golden.released_state_dict("scalablevit_small")


@pytest.mark.parametrize("arch", ["small", "base", "large"])
def test_every_released_entry_arrives(arch):
    shapes = golden.released_shapes(f"scalablevit_{arch}")
    with torch.device("meta"):
        state_dict = {key: torch.empty(shape) for key, shape in shapes.items()}
        backbone = ScalableViT(arch)
    converted = convert({"model": state_dict, "epoch": 300})
    assert (converted.arch, converted.num_classes) == (arch, 1000)
    elements = sum(value.numel() for value in state_dict.values())
    assert sum(value.numel() for value in converted.state_dict.values()) == elements
    names = {key for key in converted.state_dict if key.startswith("backbone.")}
    assert names == {f"backbone.{key}" for key in backbone.state_dict()}


def test_keys_and_values_are_joined_keys_first(released):
    state_dict = convert(released).state_dict
    joined = state_dict["backbone.stages.0.blocks.1.attn.kv.weight"]
    assert torch.equal(joined[:80], released["stages.0.1.attn.k.weight"])
    assert torch.equal(joined[80:], released["stages.0.1.attn.v.weight"])


def test_a_head_for_other_classes_is_kept(released):
    changed = {**released, "head.3.weight": torch.zeros(7, 4096), "head.3.bias": torch.zeros(7)}
    assert convert({"state_dict": changed}).num_classes == 7


def with_changes(state_dict, remove=(), **add):
    kept = {key: value for key, value in state_dict.items() if key not in remove}
    return {**kept, **{key.replace("__", "."): value for key, value in add.items()}}


@pytest.mark.parametrize(
    ("remove", "add", "words"),
    [
        (["norm.weight"], {}, ["missing: backbone.norm3.weight"]),
        (["stages.0.1.attn.v.weight"], {}, ["shape: backbone.stages.0.blocks.1.attn.kv.weight"]),
        ([], {"extra__weight": torch.zeros(2)}, ["unknown: extra.weight"]),
        ([], {"norm__weight": torch.zeros(3)}, ["backbone.norm3.weight is (3,)", "(512,)"]),
        ([], {"patch_embeds__0__proj__weight": torch.zeros(65, 3, 7, 7)}, ["[65, 128, 256, 512]"]),
        (["patch_embeds.0.proj.weight"], {}, ["patch_embeds.0.proj.weight"]),
    ],
)
def test_what_differs_is_named(released, remove, add, words):
    with pytest.raises(ValueError) as error:
        convert(with_changes(released, remove, **add))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ({}, "no state dict"),
        ({"model": 3}, "no state dict"),
        ({"model": {"a": "text"}}, "no tensors"),
        ({"conv1.weight": torch.zeros(1)}, "conv1.weight"),
        ({"state_dict": {"backbone.norm3.weight": torch.zeros(1)}}, "already"),
    ],
)
def test_other_files_are_refused(checkpoint, words):
    with pytest.raises(ValueError, match=words):
        convert(checkpoint)
