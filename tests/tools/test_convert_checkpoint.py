import argparse
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmscalablevit import LVT, ScalableViT, STViT
from mmscalablevit.checkpoints.conversion import convert
from tests import golden

TOOL = Path(__file__).parents[2] / "tools" / "convert_checkpoint.py"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process: starting another would take most of the time."""

    def run_tool(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        code, message = 0, ""
        try:
            runpy.run_path(str(TOOL), run_name="__main__")
        except SystemExit as exit_:
            if exit_.code:  # a message: Python prints it and returns 1
                code, message = 1, str(exit_.code)
        stdout, stderr = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr + message)

    return run_tool


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "scalablevit_small.pth"
    arguments = argparse.Namespace(lr=1e-3, model="ScalableViT-S", clip=None, sizes=[224])
    model = golden.released_state_dict("scalablevit_small")
    torch.save({"model": model, "args": arguments, "epoch": 300}, path)
    return path


def test_a_released_file_becomes_one_that_our_models_load(run, released, tmp_path):
    done = run(released, tmp_path / "new" / "small.pth")
    assert done.returncode == 0, done.stderr
    assert "ScalableViT-small, 1000 classes" in done.stdout
    written = torch.load(tmp_path / "new" / "small.pth", weights_only=True)
    expected = convert({"model": golden.released_state_dict("scalablevit_small")}).state_dict
    assert written["state_dict"].keys() == expected.keys()
    assert all(torch.equal(written["state_dict"][key], expected[key]) for key in expected)

    init_cfg = {
        "type": "Pretrained",
        "checkpoint": str(tmp_path / "new" / "small.pth"),
        "prefix": "backbone.",
    }
    model = ScalableViT("small", out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
    model.init_weights()
    assert torch.equal(model.norm3.weight, expected["backbone.norm3.weight"])


@pytest.mark.parametrize(
    ("name", "title", "kind", "settings"),
    [
        ("stvit_small", "STViT-small", STViT, {"arch": "small", "output_norms": True}),
        ("lvt", "LVT", LVT, {}),
        ("lvt_cls", "LVT (class attention)", LVT, {"output_norms": False}),
    ],
)
def test_other_backbones_and_moving_averages(run, name, title, kind, settings, tmp_path):
    backbone = kind(out_indices=(0, 3), **settings)
    weights = golden.released_state_dict(name)
    averaged = {key: value + 1 for key, value in weights.items()}
    source = tmp_path / f"{name}.pth"
    torch.save({"state_dict": weights, "state_dict_ema": averaged}, source)
    done = run(source, tmp_path / "plain.pth")
    assert f"{title}, 1000 classes" in done.stdout
    assert "--ema" in done.stdout
    done = run(source, tmp_path / "ema.pth", "--ema")
    assert done.returncode == 0 and "--ema" not in done.stdout
    for file, released in (("plain", weights), ("ema", averaged)):
        init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / f"{file}.pth")}
        backbone.init_cfg = {**init_cfg, "prefix": "backbone."}
        backbone._is_init = False
        backbone.init_weights()  # it refuses weights that do not fill it
        for key, value in convert(released).state_dict.items():
            if key.startswith("backbone."):
                assert torch.equal(backbone.state_dict()[key.removeprefix("backbone.")], value)


def test_all_forms_of_lvt_start_dense_models(run, tmp_path):
    weights = golden.released_state_dict("lvt_cls")
    forms = {
        "179 entries": weights,
        "152 entries": golden.released_state_dict("lvt"),
        "148 entries": {k: value for k, value in weights.items() if k.startswith("backbone.")},
    }
    for entries, state_dict in forms.items():
        torch.save(state_dict, tmp_path / "released.pth")
        done = run(tmp_path / "released.pth", tmp_path / "ours.pth", "--force")
        assert entries in done.stdout
        assert ("no head" in done.stdout) == (entries == "148 entries")
        start = {"type": "Pretrained", "checkpoint": str(tmp_path / "ours.pth")}
        for norms in (False, True):
            model = LVT(
                output_norms=norms,
                out_indices=(0, 1, 2, 3),
                init_cfg={**start, "prefix": "backbone."},
            )
            model.init_weights()
            for name, value in model.state_dict().items():
                if name.startswith("stages.3.blocks.1.attn."):
                    part = name.removeprefix("stages.3.blocks.1.attn.")
                    released = {"atrous_kernel": "ds.weight"}.get(part, part)
                    assert torch.equal(value, weights[f"backbone.3.1.1.attn.{released}"]), name


def test_an_existing_file_is_replaced_only_by_force(run, released, tmp_path):
    target = tmp_path / "there.pth"
    target.write_text("precious")
    done = run(released, target)
    assert done.returncode != 0
    assert "--force" in done.stderr
    assert target.read_text() == "precious"
    assert run(released, target, "--force").returncode == 0
    assert target.stat().st_size > 1_000_000


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_file_is_refused_and_not_run(run, tmp_path):
    marker = tmp_path / "executed"
    torch.save({"model": {}, "args": Malicious(marker)}, tmp_path / "bad.pth")
    done = run(tmp_path / "bad.pth", tmp_path / "out.pth")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "system" in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint"])
def test_a_file_that_is_none_costs_nothing(run, content, tmp_path):
    source = tmp_path / "source.pth"
    if content is not None:
        source.write_bytes(content)
    done = run(source, tmp_path / "out.pth")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert str(source) in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == (
        ["source.pth"] if content is not None else []
    )


def test_another_model_is_refused_with_its_keys(run, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    done = run(tmp_path / "resnet.pth", tmp_path / "out.pth")
    assert done.returncode != 0
    assert "conv1.weight" in done.stderr
