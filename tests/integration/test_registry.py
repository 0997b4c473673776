"""In a fresh process, custom_imports is all that a config needs to build the backbone by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import importlib, sys
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

before = set(sys.modules)
cfg = Config.fromfile("config.py")
imported = {name.partition(".")[0] for name in set(sys.modules) - before}
assert "mmscalablevit" in imported
assert not imported & {"mmpretrain", "mmdet", "mmseg"}, imported
for scope in ("mmengine", "mmpretrain", "mmdet", "mmseg"):
    registry = importlib.import_module(f"{scope}.registry").MODELS
    init_default_scope(scope)
    for name in ("ScalableViT", "mmscalablevit.ScalableViT"):
        with torch.device("meta"):
            print(scope, type(registry.build(dict(type=name, arch="small"))).__qualname__)
"""


@pytest.mark.slow
def test_builds_in_a_fresh_process(tmp_path: Path) -> None:
    for scope in ("mmpretrain", "mmdet", "mmseg"):
        pytest.importorskip(scope)
    (tmp_path / "config.py").write_text('custom_imports = dict(imports=["mmscalablevit"])')
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.endswith("ViT")]
    assert lines == [
        [scope, "ScalableViT"]
        for scope in ("mmengine", "mmpretrain", "mmdet", "mmseg")
        for _ in "12"
    ]
