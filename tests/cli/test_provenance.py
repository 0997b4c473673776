"""What runs write down about their origin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch
from mmengine.config import Config

from mmscalablevit.cli import provenance

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
    same = same.replace("'EMAHook')", "'EMAHook'), dict(type='MatchingCheckpointHook')")
    same += "work_dir = 'w'\nresume = True\nlauncher = 'slurm'\nload_from = None\n"
    assert provenance.config_hash(provenance.config_content(load(same))) == name
    for old, new in (("(1, 2)", "(1, 3)"), ("EMAHook", "OtherHook"), ("base=4", "base=8")):
        other = provenance.config_content(load(text.replace(old, new)))
        assert provenance.config_hash(other) != name
