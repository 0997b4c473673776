import pytest
import torch

from mmscalablevit import ScalableViT
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


def edit(weights, **changes):
    path, state_dict = weights
    for key, value in changes.items():
        key = "backbone." + key.replace("__", ".")
        if value is None:
            del state_dict[key]
        else:
            state_dict[key] = value
    torch.save({"state_dict": state_dict}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages__0__peg__conv__weight": None}, ["missing: stages.0.peg.conv.weight"]),
        ({"norm3__weight": None}, ["missing: norm3.weight"]),
        ({"norm3__bias": torch.zeros(7)}, ["norm3.bias is (7,)", "(32,)"]),
    ],
)
def test_weights_that_do_not_fill_the_backbone_stop_it(weights, changes, words):
    model = build(edit(weights, **changes), out_indices=(0, 1, 2, 3))
    with pytest.raises(ValueError) as error:
        model.init_weights()
    for word in [*words, "of the"]:
        assert word in str(error.value)


@pytest.mark.parametrize("prefix", [None, "module."])
def test_a_wrong_prefix_is_told(weights, prefix):
    model = build(weights[0], prefix=prefix)
    with pytest.raises(ValueError, match=r"prefix='backbone\.'"):
        model.init_weights()
