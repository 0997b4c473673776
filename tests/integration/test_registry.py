"""In a fresh process, custom_imports is all that a config needs, and imports no framework's models.

Of MMPretrain, where it is installed, comes what the names of models are registered with.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS

Config.fromfile("config.py")
assert not {"mmpretrain.models", "mmdet", "mmseg"} & set(sys.modules)
for name in ("ScalableViT", "mmscalablevit.ScalableViT"):
    print(type(MODELS.build(dict(type=name, arch="small"))).__qualname__)
"""


@pytest.mark.slow
def test_builds_in_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text('custom_imports = dict(imports=["mmscalablevit"])')
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["ScalableViT"] * 2, done.stderr[-2000:]
