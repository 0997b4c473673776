"""In a fresh process, custom_imports is all that a config needs to build the backbone by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
custom_imports = dict(imports=["mmscalablevit"])
arch = dict(
    embed_dims=[8, 16, 24, 32],
    depths=[1, 1, 1, 1],
    num_heads=[1, 2, 3, 4],
    channel_ratios=[1.0, 1.0, 1.0, 1.0],
    spatial_ratios=[8, 4, 2, 1],
)
models = [dict(type=name, arch=arch) for name in NAMES]
"""

SCRIPT = """
import importlib, sys
from mmengine.config import Config
from mmengine.registry import init_default_scope

scope = sys.argv[1]
registry = importlib.import_module(f"{scope}.registry").MODELS
before = set(sys.modules)
cfg = Config.fromfile("config.py")
imported = {name.partition(".")[0] for name in set(sys.modules) - before}
assert "mmscalablevit" in imported
assert not imported & {"mmpretrain", "mmdet", "mmseg"}, imported
init_default_scope(scope)
for model in cfg.models:
    print(type(registry.build(model)).__qualname__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["mmengine", "mmpretrain", "mmdet", "mmseg"])
def test_builds_in_a_fresh_process(scope: str, tmp_path: Path) -> None:
    pytest.importorskip(f"{scope}.registry")
    names = ["ScalableViT", "mmscalablevit.ScalableViT"]
    (tmp_path / "config.py").write_text(CONFIG.replace("NAMES", str(names)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, scope], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-len(names) :] == ["ScalableViT"] * len(names)
