import pytest
import torch
from mmengine.runner import load_state_dict

from mmscalablevit import ScalableViT
from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.checkpoints import filling as pretrained

ARCH = {
    "embed_dims": [16, 16, 32, 32],
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "channel_ratios": [1.25, 0.5, 1.0, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}


@pytest.fixture
def weights(tmp_path):
    """A classifier's checkpoint: a backbone with the last norm only, and a head."""
    torch.manual_seed(0)
    backbone = ScalableViT(ARCH)
    state_dict = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    state_dict["head.fc.weight"] = torch.zeros(3, 32)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state_dict, "meta": {}}, path)
    return path, state_dict


def build(path, prefix="backbone.", **settings):
    init_cfg = {"type": "Pretrained", "checkpoint": str(path), "prefix": prefix}
    return ScalableViT(settings.pop("arch", ARCH), init_cfg=init_cfg, **settings)


def test_a_dense_backbone_is_filled_and_its_own_norms_are_said(weights, monkeypatch):
    path, state_dict = weights
    said = []
    monkeypatch.setattr(pretrained, "print_log", lambda message, **_: said.append(message))
    model = build(path, out_indices=(0, 1, 2, 3))
    model.init_weights()
    for key, value in model.state_dict().items():
        if key.split(".")[0] in ("norm0", "norm1", "norm2"):
            assert (value == (1 if "weight" in key else 0)).all()
        else:
            assert torch.equal(value, state_dict[f"backbone.{key}"]), key
    assert len(said) == 1
    assert "norm0.weight" in said[0]
    assert "norm3" not in said[0]


def test_a_backbone_without_the_last_norm_is_filled(weights):
    build(weights[0], out_indices=(0, 2)).init_weights()


@pytest.mark.parametrize("prefix", [None, "module."])
def test_a_wrong_prefix_is_told(weights, prefix):
    model = build(weights[0], prefix=prefix)
    with pytest.raises(ValueError, match=r"prefix='backbone\.'"):
        model.init_weights()


def test_what_is_missing_or_of_another_shape_is_named(weights):
    path, entries = weights
    entries["backbone.norm3.bias"] = torch.zeros(7)
    del entries["backbone.stages.0.peg.conv.weight"]
    torch.save({"state_dict": entries}, path)
    with pytest.raises(ValueError, match="of the") as error:
        build(path, out_indices=(0, 1, 2, 3)).init_weights()
    for words in ("missing: stages.0.peg.conv.weight", "norm3.bias is (7,), the model has (32,)"):
        assert words in str(error.value)


@pytest.mark.parametrize("place", ["state_dict", "model", "ema_state_dict", None])
@pytest.mark.parametrize("wrapper", ["module.{}", "_orig_mod.module.{}", "model.{}"])
def test_names_of_wrappers_are_taken_off(weights, place, wrapper):
    path, state_dict = weights
    wrapped = {wrapper.format(name): value for name, value in state_dict.items()}
    torch.save({place: wrapped} if place else wrapped, path)
    model = build(path)
    model.init_weights()
    assert torch.equal(model.norm3.weight, state_dict["backbone.norm3.weight"])
    inner = {name.replace("backbone.", "backbone._orig_mod."): v for name, v in wrapped.items()}
    torch.save(inner, path)
    assert build(path).read_pretrained()[0].fresh == []


def test_the_prefix_that_fills_is_named(weights):
    path, state_dict = weights
    torch.save({f"student.{name}": value for name, value in state_dict.items()}, path)
    with pytest.raises(ValueError, match=r"say prefix='student\.backbone\.'"):
        build(path).init_weights()
    torch.save({n.removeprefix("backbone."): value for n, value in state_dict.items()}, path)
    with pytest.raises(ValueError, match="say prefix=None"):
        build(path).init_weights()
    build(path, prefix=None).init_weights()


@pytest.mark.parametrize("load", [torch.nn.Module.load_state_dict, load_state_dict])
def test_weights_that_fill_nothing_of_a_model_are_refused(weights, load):
    """MMEngine, and ``mmpretrain.get_model`` by it, would only log it."""
    model = torch.nn.ModuleDict({"backbone": ScalableViT(ARCH), "head": torch.nn.Linear(2, 2)})
    for entries, words in (
        ({"patch_embeds.0.proj.weight": torch.zeros(1)}, "convert_checkpoint"),
        (
            {"model": {"patch_embeds.0.proj.weight": torch.zeros(1)}, "epoch": 1},
            "model, epoch.*convert_checkpoint",
        ),
        ({"backbone.conv1.weight": torch.zeros(1)}, r"backbone\.conv1\.weight"),
        ({f"x.{name}": value for name, value in weights[1].items()}, r"lack backbone\.stages\.0"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load(model, entries, strict=False)
    load(model, {"head.weight": torch.zeros(2, 2)}, strict=False)
    load(model, {"backbone.norm3.weight": torch.zeros(32)}, strict=False)
    assert not model["backbone"].norm3.weight.any() and not model["head"].weight.any()
