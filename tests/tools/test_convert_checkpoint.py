from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mmscalablevit import LVT
from mmscalablevit.checkpoints.conversion import convert
from tests import golden
from tests.in_process import Ending, run_tool


def run(*arguments: object) -> Ending:
    return run_tool("convert_checkpoint.py", *arguments)


def test_released_weights_and_their_averages_are_converted(tmp_path: Path) -> None:
    weights = golden.released_state_dict("lvt_cls")
    averaged = {key: value + 1 for key, value in weights.items()}
    arguments = argparse.Namespace(lr=1e-3, clip=None, sizes=[224])
    both = {"state_dict": weights, "state_dict_ema": averaged, "args": arguments}
    torch.save(both, tmp_path / "released.pth")
    done = run(tmp_path / "released.pth", tmp_path / "new" / "plain.pth")
    assert "LVT (class attention), 1000 classes" in done.shown and "--ema" in done.shown
    done = run(tmp_path / "released.pth", tmp_path / "new" / "ema.pth", "--ema")
    assert done.code == 0 and "--ema" not in done.shown
    for file, released in (("plain", weights), ("ema", averaged)):
        written = torch.load(tmp_path / "new" / f"{file}.pth", weights_only=True)["state_dict"]
        expected = convert(released).state_dict
        assert written.keys() == expected.keys()
        assert all(torch.equal(written[key], expected[key]) for key in expected)


def test_all_forms_of_lvt_start_dense_models(tmp_path: Path) -> None:
    weights = golden.released_state_dict("lvt_cls")
    forms = {
        "179 entries": weights,
        "152 entries": golden.released_state_dict("lvt"),
        "no head, 148 entries": {k: v for k, v in weights.items() if k.startswith("backbone.")},
    }
    path = tmp_path / "ours.pth"
    init_cfg = {"type": "Pretrained", "checkpoint": str(path), "prefix": "backbone."}
    for entries, released in forms.items():
        torch.save(released, tmp_path / "released.pth")
        assert entries in run(tmp_path / "released.pth", path, "--force").shown
        for norms in (False, True):
            model = LVT(output_norms=norms, out_indices=(0, 1, 2, 3), init_cfg=init_cfg)
            model.init_weights()  # it refuses weights that do not fill it
            kernel = model.state_dict()["stages.3.blocks.1.attn.atrous_kernel"]
            assert torch.equal(kernel, released["backbone.3.1.1.attn.ds.weight"])


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    torch.save(golden.released_state_dict("lvt"), tmp_path / "released.pth")
    target = tmp_path / "there.pth"
    target.write_text("precious")
    done = run(tmp_path / "released.pth", target)
    assert done.code == 1 and "--force" in done.message
    assert target.read_text() == "precious"
    assert run(tmp_path / "released.pth", target, "--force").code == 0
    assert target.stat().st_size > 1_000_000
