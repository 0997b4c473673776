"""The plain models: the released logits, MMPretrain's entries, timm's manners."""

from __future__ import annotations

import argparse
import sys

import pytest
import torch
from mmpretrain import get_model

import mmscalablevit
from mmscalablevit import create_model, list_models
from tests import golden

# By the model: the released one, the golden file with its logits, and the config in MMPretrain.
MODELS = {
    "scalablevit_small": (
        "scalablevit_small",
        "scalablevit_small_224x224",
        "scalablevit-small_8xb128_in1k",
    ),
    "stvit_small": ("stvit_small", "stvit_small_224x224", "stvit-small_8xb128_in1k"),
    "lvt": ("lvt", "lvt_224x224", "lvt_8xb128_in1k"),
    "lvt_ca": ("lvt_cls", "lvt_token_labels/lvt_cls_224x224", "lvt-ca_8xb128_in1k"),
}


@pytest.fixture
def released(request, tmp_path):
    """A file as the authors save it, and the outputs of its model."""
    data = golden.load_golden(MODELS[request.param][1])
    weights = golden.released_state_dict(MODELS[request.param][0], int(data["weight_seed"]))
    path = tmp_path / "released.pth"
    torch.save({"model": weights, "args": argparse.Namespace(lr=1)}, path)
    return request.param, str(path), data


def logits(model, data):
    with torch.no_grad():
        return model.eval()(golden.golden_image(data))


@pytest.mark.parametrize("released", MODELS, indirect=True)
def test_a_released_file_gives_the_released_logits(released):
    name, path, data = released
    expected = torch.from_numpy(data["logits"])
    found = logits(create_model(name, checkpoint=path), data)
    assert (found - expected).abs().max() < 5e-5 * expected.std()


@pytest.mark.parametrize("name", MODELS)
def test_the_entries_are_those_of_mmpretrain(name):
    theirs = get_model(MODELS[name][2]).state_dict()
    ours = create_model(name).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize("released", ["lvt_ca", "stvit_small"], indirect=True)
def test_another_number_of_classes_starts_the_last_layer_anew(released):
    name, path, data = released
    model = create_model(name, num_classes=7, checkpoint=path)
    image = golden.golden_image(data)
    assert logits(model, data).shape == (len(image), 7)
    whole = create_model(name, checkpoint=path)
    model.eval(), whole.eval()
    with torch.no_grad():
        maps = model.forward_features(image)
        assert torch.equal(maps, whole.forward_features(image))
        before = whole.forward_head(maps, pre_logits=True)
        model.reset_classifier(0)
        assert torch.equal(model(image), before)
    model.reset_classifier(3)
    assert logits(model, data).shape == (len(image), 3)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_what_feature_info_says(name):
    model = create_model(name, features_only=True, out_indices=(1, 3)).eval()
    with torch.no_grad():
        maps = model(torch.rand(1, 3, 64, 96))
    assert [x.shape[1] for x in maps] == model.feature_info.channels()
    assert [64 // x.shape[2] for x in maps] == model.feature_info.reduction() == [8, 32]
    for module in model.feature_info.module_name():
        model.get_submodule(module)
    classifier = create_model(name, num_classes=2)
    assert classifier.num_features == classifier.feature_info.channels()[-1]
    assert classifier.feature_info.channels()[1::2] == model.feature_info.channels()


@pytest.mark.parametrize("released", ["scalablevit_small"], indirect=True)
def test_features_of_a_released_file_are_those_of_its_classifier(released):
    name, path, data = released
    image = golden.golden_image(data)
    features = create_model(name, features_only=True, out_indices=(3,), checkpoint=path).eval()
    classifier = create_model(name, checkpoint=path).eval()
    with torch.no_grad():
        assert torch.equal(features(image)[0], classifier.forward_features(image))


@pytest.mark.parametrize("released", ["scalablevit_small"], indirect=True)
def test_what_does_not_fit_is_named(released):
    _, path, _ = released
    with pytest.raises(ValueError, match=r"does not fill ScalableViT.*\n.*backbone\.stages"):
        create_model("scalablevit_base", checkpoint=path)
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        create_model("lvt", checkpoint="absent.pth")
    with pytest.raises(ValueError, match="no model 'lvd'; there are scalablevit_small"):
        create_model("lvd")
    assert list_models("stvit*") == ["stvit_small", "stvit_base", "stvit_large"]


def test_a_model_goes_to_a_folder_and_comes_back(tmp_path):
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("safetensors")
    model = create_model("lvt_ca", num_classes=5, drop_path_rate=0.1).eval()
    model.save_pretrained(tmp_path)
    names = {"README.md", "config.json", "model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names
    card = (tmp_path / "README.md").read_text()
    assert "library_name: mmscalablevit" in card and "Classifier.from_pretrained" in card
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)
        back = mmscalablevit.Classifier.from_pretrained(tmp_path).eval()
        assert back.num_classes == 5
        assert torch.equal(back(image), expected)
        weights = str(tmp_path / "model.safetensors")
        again = create_model("lvt_ca", num_classes=5, checkpoint=weights).eval()
        assert torch.equal(again(image), expected)


def test_without_huggingface_hub_it_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "mmscalablevit.hub.plain")
    monkeypatch.delattr("mmscalablevit.hub.plain")
    model = mmscalablevit.create_model("lvt", num_classes=2)
    for save in (model.save_pretrained, model.push_to_hub, type(model).from_pretrained):
        with pytest.raises(ImportError, match=r"pip install 'mmscalablevit\[hub\]'"):
            save(tmp_path)
