"""What runs write down about their origin."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch
from mmengine.config import Config

from mmscalablevit.checkpoints import Checkpoint, load_file
from mmscalablevit.cli import provenance
from tests.runner.toy_run import build_run

GIT = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C"]


def git(place: Path, *words: str) -> str:
    done = subprocess.run([*GIT, str(place), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_changes_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    nothing = {"commit": None, "dirty": None}
    assert provenance.code_version() == nothing
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.code_version() == {"commit": head, "dirty": False}
    (tmp_path / "untracked").touch()
    assert provenance.code_version() == {"commit": head, "dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert provenance.code_version() == {"commit": head, "dirty": True}
    (tmp_path / "env").mkdir()  # an installation below somebody else's checkout is not of it
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "env")
    assert provenance.code_version() == nothing


def test_a_machine_without_git_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.code_version() == {"commit": None, "dirty": None}


def test_versions_are_those_that_run():
    versions = provenance.versions()
    assert versions["torch"] == torch.__version__.split("+")[0]
    assert any(name.endswith("mmengine") for name in versions) and "python" in versions


def load(text: str) -> dict:
    return Config.fromstring(text, ".py").to_dict()


def test_the_hash_is_of_what_is_trained():
    text = (
        "model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')))\n"
        "sizes = (1, 2)\ncustom_hooks = [dict(type='EMAHook')]\nauto_scale_lr = dict(base=4)\n"
    )
    content = provenance.config_content(load(text))
    name = provenance.config_hash(content)
    assert len(name) == 12
    same = text.replace("a.pth", "b.pth").replace("(1, 2)", "[1, 2]")
    same = same.replace("base=4", "base=4, enable=True")
    same += "work_dir = 'w'\nresume = True\nlauncher = 'slurm'\nload_from = None\n"
    assert provenance.config_hash(provenance.config_content(load(same))) == name
    for old, new in (("(1, 2)", "(1, 3)"), ("EMAHook", "OtherHook"), ("base=4", "base=8")):
        other = provenance.config_content(load(text.replace(old, new)))
        assert provenance.config_hash(other) != name


def test_differences_are_one_line_each():
    before = {"a": {"b": [1, 2], "c": [{"d": 1}, {"d": 2}]}, "gone": None}
    now = {"a": {"b": [1, 3], "c": [{"d": 1}, {"d": "x" * 100}]}, "new": {}}
    assert provenance.differences(before, before) == []
    assert provenance.differences(before, now) == [
        "a.b: [1, 2] -> [1, 3]",
        f"a.c.1.d: 2 -> '{'x' * 56}...",
        "gone: None -> nothing",
        "new: nothing -> {}",
    ]


def test_a_checkpoint_tells_its_config_where_it_is_resumed(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(provenance, "print_log", lambda message, **_: said.append(message))
    run = build_run(tmp_path, length=1)
    run.cfg = Config({"train_dataloader": {"batch_size": 6}, "lr": (1, 2), "work_dir": "a"})
    content = provenance.config_content(run.cfg.to_dict())
    provenance.record(run, "own.py", content)
    run.train()
    assert json.loads((Path(run.log_dir) / "config.json").read_text()) == {
        "lr": [1, 2],
        "train_dataloader": {"batch_size": 6},
    }
    checkpoint = Checkpoint("x.pth", load_file(tmp_path / "epoch_1.pth"))
    provenance.report_changes(content, checkpoint)
    assert said == []
    provenance.report_changes({**content, "lr": 3}, checkpoint)
    assert said == ["--resume: the config is not the one of x.pth:\n  lr: [1, 2] -> 3"]
    provenance.report_changes(content, Checkpoint("x.pth", {"meta": {}}))  # of an earlier version
    assert len(said) == 1
