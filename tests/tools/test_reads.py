"""How often each process reads a checkpoint from the disk."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mmscalablevit.checkpoints import load_file
from tests.in_process import run_tool

from .fault_runs import ROOT, free_port, run, write_configs, write_data

pytestmark = pytest.mark.slow

_STARTED = """
_base_ = "epochs.py"
custom_hooks = [dict(type="EMAHook")]
model = dict(backbone=dict(
    init_cfg=dict(type="Pretrained", checkpoint="trained/epoch_1.pth", prefix="backbone.")))
"""
# For several processes: notes which of them reads which file.
_COUNTED = """
_base_ = "started.py"
custom_imports = dict(imports=["mmscalablevit", "counting"], allow_failed_imports=False)
"""
_COUNTING = """
import os

from tests.tools.test_reads import count_reads


def note(name):
    with open("reads", "a") as reads:
        reads.write(f"{os.getpid()} {name}\\n")


count_reads(note)
"""
SHORT = ["--cfg-options", "train_cfg.val_interval=9", "train_cfg.max_epochs=2"]


def count_reads(note: Any) -> None:
    """Tell the name of each file that a checkpoint is read from in this process."""
    plain = torch.load

    def load(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, (str, os.PathLike)):  # what processes send each other are buffers
            note(os.path.basename(file))
        return plain(file, *arguments, **options)

    torch.load = load


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a data set, configs, and a training of one epoch."""
    root = tmp_path_factory.mktemp("reads")
    write_data(root)
    write_configs(root)
    for name, text in (("started", _STARTED), ("counted", _COUNTED), ("counting", _COUNTING)):
        (root / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_tool("train.py", "epochs.py", "--work-dir", "trained", *SHORT)
    (root / "trained" / "epoch_2.pth").unlink()
    return root


def reads_alone(*command: object) -> Counter[str]:
    """Run a tool in this process; return how often each file was read."""
    found: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", torch.load)  # put back afterwards
        count_reads(lambda name: found.update([name]))
        ending = run_tool(*command)
    assert ending.code == 0, ending.message
    return found


def test_one_process_reads_each_file_once(place, monkeypatch):
    monkeypatch.chdir(place)
    begin = ["train.py", "started.py", "--work-dir", "work"]
    assert reads_alone(*begin, *SHORT) == {"epoch_1.pth": 1}
    # What the weights began with, and what is resumed.
    longer = [*SHORT[:-1], "train_cfg.max_epochs=3"]
    expected = {"epoch_1.pth": 1, "epoch_2.pth": 1}
    assert reads_alone(*begin, "--resume", "auto", *longer) == expected
    assert load_file("work/epoch_3.pth")["meta"]["epoch"] == 3
    # Weights to start from and to test.
    torch.save({"state_dict": load_file("trained/epoch_1.pth")["state_dict"]}, "weights.pth")
    options = [*SHORT, "load_from=weights.pth", "model.backbone.init_cfg=None"]
    begin[-1] = "anew"
    assert reads_alone(*begin, *options) == {"weights.pth": 1}
    begin[:2] = ["test.py", "started.py", "weights.pth"]
    assert reads_alone(*begin) == {"weights.pth": 1}


def test_each_of_two_processes_reads_each_file_once(place):
    begin = ["dist_train.sh", "counted.py", 2, "--work-dir", "two"]
    run(place, *begin, *SHORT, PORT=free_port(), PYTHONPATH=f"{place}:{ROOT}")
    longer = [*SHORT[:-1], "train_cfg.max_epochs=3"]
    resumed = [*begin, "--resume", "auto", *longer]
    (place / "reads").unlink()
    run(place, *resumed, PORT=free_port(), PYTHONPATH=f"{place}:{ROOT}")
    pairs = [line.split() for line in (place / "reads").read_text().splitlines()]
    by_process = {process: [] for process, _ in pairs}
    for process, name in pairs:
        by_process[process].append(name)
    assert [sorted(names) for names in by_process.values()] == [["epoch_1.pth", "epoch_2.pth"]] * 2
