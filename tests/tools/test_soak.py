"""The watch over a process's memory and files, on trainings of a minute."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .fault_runs import TOOLS, run, write_configs, write_data

pytestmark = pytest.mark.slow

_LEAK = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Leak(Hook):
    kept = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.kept.append((bytearray(b"x" * 4 * 2**20), open("leak.py")))
"""
_LEAKY = """
_base_ = "epochs.py"
custom_imports = dict(imports=["mmscalablevit", "leak"], allow_failed_imports=False)
custom_hooks = [dict(type="Leak")]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a data set, a config, and one that leaks memory and files."""
    root = tmp_path_factory.mktemp("soak")
    write_data(root)
    write_configs(root)
    (root / "leak.py").write_text(_LEAK)
    (root / "leaky.py").write_text(_LEAKY)
    return root


def soak(place: Path, config: str, expect: int, *options: str, epochs: int = 16) -> str:
    return run(
        place, "soak.py", config, "--out", "pictures/soak.png", "--work-dir", config[:-3],
        "--interval", "2", "--settle", "24", *options,
        "--cfg-options", f"train_cfg.max_epochs={epochs}", "train_cfg.val_interval=4",
        expect=expect, PYTHONPATH=str(place),
    )  # fmt: skip


def figures(output: str) -> dict[str, int]:
    """The numbers in the last line of the output."""
    match = re.search(
        r"memory (?P<before>\d+) MiB after 24 iterations, (?P<after>\d+) MiB at the end "
        r"\((?P<length>\d+) iterations\); open files at most (?P<files>\d+), then (?P<then>\d+): "
        r"(flat|GROWING); drawn to pictures/soak.png\s*$",
        output,
    )
    assert match, output[-3000:]
    return {name: int(value) for name, value in match.groupdict().items()}


def test_a_run_that_leaks_nothing_is_flat_and_drawn(place):
    output = soak(place, "epochs.py", 0)
    found = figures(output)
    assert ": flat; drawn" in output
    assert found["length"] == 64 and found["before"] > 100
    assert 5 < found["then"] <= found["files"]
    picture = np.asarray(Image.open(place / "pictures" / "soak.png").convert("RGB"), dtype=int)
    # The two curves are there: in matplotlib's blue and orange.
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (np.abs(picture - colour).max(axis=-1) < 8).sum() > 100


def test_memory_and_files_that_grow_are_told(place):
    found = figures(soak(place, "leaky.py", 1))
    # 4 MiB an iteration, and 30 iterations between the middles of the quarters.
    assert found["after"] - found["before"] == pytest.approx(120, abs=40)
    assert found["then"] - found["files"] == pytest.approx(40, abs=4)


@pytest.mark.parametrize(
    ("memory", "file", "flat"), [(0, 0, True), (0.3, 0, True), (2, 0, False), (0, 1, False)]
)
def test_either_growth_is_enough(memory, file, flat):
    """Over 50 records, MiB each, or one file at the end; 2 % is let pass."""
    tool = runpy.run_path(str(TOOLS / "soak.py"))
    record = tool["ResourceHook"](10)
    record.iterations = list(range(10, 1010, 10))
    record.memory = [900 + memory * max(0, n - 50) for n in range(100)]
    record.files = [30] * 99 + [30 + file]
    words, found = tool["judge"](record, 500)
    assert found is flat
    assert f"(1000 iterations); open files at most 30, then {30 + file}" in words


def test_a_run_that_is_too_short_is_told_before_it_begins(place):
    output = soak(place, "epochs.py", 1, epochs=8)
    assert "error: 32 iterations are too few to judge what comes after iteration 24" in output
    assert "Epoch(train)" not in output and "Traceback" not in output
