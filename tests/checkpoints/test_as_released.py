"""The authors' files, as they are, wherever weights are named."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain import get_model

from mmscalablevit import LVT, ScalableViT, STViT
from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.checks import weights
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from mmscalablevit.runner.runner import LoadedRunner
from tests import golden
from tests.leaves import LEAVES

# By the released model: the golden file with its outputs, the config, and a backbone for maps.
MODELS = {
    "scalablevit_small": (
        "scalablevit_small_224x224",
        "scalablevit-small_8xb128_in1k",
        ScalableViT,
    ),
    "stvit_small": ("stvit_small_224x224", "stvit-small_8xb128_in1k", STViT),
    "lvt": ("lvt_224x224", "lvt_8xb128_in1k", LVT),
    "lvt_cls": ("lvt_token_labels/lvt_cls_224x224", "lvt-ca_8xb128_in1k-token-label", LVT),
}


def saved(name: str, folder: Path) -> tuple[Path, dict]:
    """A file as the authors save it, and the outputs of its model."""
    data = golden.load_golden(MODELS[name][0])
    state_dict = golden.released_state_dict(name, int(data["weight_seed"]))
    path = folder / "released.pth"
    command_line = argparse.Namespace(lr=1e-3)
    torch.save({"model": state_dict, "epoch": 299, "args": command_line}, path)
    return path, data


def require_logits(model: torch.nn.Module, data: dict) -> None:
    with torch.no_grad():
        logits = model.eval()(golden.golden_image(data), mode="tensor")
    expected = torch.from_numpy(data["logits"])
    assert (logits - expected).abs().max() < 5e-5 * expected.std()


@pytest.mark.parametrize("name", MODELS)
def test_get_model_gives_the_released_logits(name, tmp_path):
    path, data = saved(name, tmp_path)
    require_logits(get_model(MODELS[name][1], pretrained=str(path)), data)


@pytest.mark.parametrize("name", ["scalablevit_small", "lvt_cls"])
def test_a_test_gives_the_released_logits(name, tmp_path):
    path, data = saved(name, tmp_path)
    cfg = Config.fromfile(LEAVES[MODELS[name][1]])
    cfg.work_dir, cfg.load_from = str(tmp_path), str(path)
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    runner: Runner = LoadedRunner.from_cfg(cfg)
    runner.loaded = weights.read_weights(str(path))
    weights.require_start(runner.model, runner.loaded)
    runner.register_hook(MatchingCheckpointHook())
    runner.load_or_resume()
    require_logits(runner.model, data)


@pytest.mark.parametrize("prefix", [None, "backbone."])
@pytest.mark.parametrize("name", MODELS)
def test_init_cfg_fills_a_backbone(name, prefix, tmp_path):
    path, data = saved(name, tmp_path)
    backbone = MODELS[name][2]
    settings = {"arch": "small"} if name.endswith("small") else {}
    init_cfg = {"type": "Pretrained", "checkpoint": str(path), "prefix": prefix}
    model = backbone(**settings, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    model.init_weights()
    if "stage0_slice" not in data:
        return
    for norm in ("norm0", "norm1", "norm2", "norm3"):
        setattr(model, norm, torch.nn.Identity())
    with torch.no_grad():
        maps = model.eval()(golden.golden_image(data))
    for stage in range(3):
        assert golden.stage_deviation(data, stage, maps[stage]) < 5e-5


def test_weights_of_another_size_are_named(tmp_path):
    path, _ = saved("scalablevit_small", tmp_path)
    init_cfg = {"type": "Pretrained", "checkpoint": str(path)}
    with pytest.raises(ValueError, match="fills 0 of the 416 entries of ScalableViT"):
        ScalableViT("base", init_cfg=init_cfg).init_weights()


def test_what_lacks_an_entry_is_named(tmp_path):
    state_dict = golden.released_state_dict("lvt")
    del state_dict["norm.bias"]
    torch.save({"model": state_dict}, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match=r"half\.pth: not the released LVT:.*\n.*norm3\.bias"):
        weights.read_weights(str(tmp_path / "half.pth"))
    with pytest.raises(CheckpointError, match=r"not the released LVT"):
        get_model("lvt_8xb128_in1k", pretrained=str(tmp_path / "half.pth"))


def test_a_classifier_in_a_larger_model_is_left_alone():
    model = torch.nn.ModuleDict({"teacher": get_model("lvt_8xb128_in1k")})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    released = golden.released_state_dict("lvt")
    with pytest.raises(CheckpointError, match=r"lack teacher\.backbone"):
        model.load_state_dict(released, strict=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
