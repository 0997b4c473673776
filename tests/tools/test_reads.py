"""How often each process reads a checkpoint from the disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from mmscalablevit.checkpoints import load_file

from .fault_runs import ROOT, free_port, run, write_configs, write_data

pytestmark = pytest.mark.slow

# Imported by the config: notes which process reads which file.
_COUNTING = """
import os

import torch

plain = torch.load


def load(file, *arguments, **options):
    if isinstance(file, (str, os.PathLike)):  # what processes send each other are buffers
        with open("reads", "a") as reads:
            reads.write(f"{os.getpid()} {os.path.basename(file)}\\n")
    return plain(file, *arguments, **options)


torch.load = load
"""
_COUNTED = """
_base_ = "epochs.py"
custom_imports = dict(imports=["mmscalablevit", "counting"], allow_failed_imports=False)
custom_hooks = [dict(type="EMAHook")]
model = dict(backbone=dict(
    init_cfg=dict(type="Pretrained", checkpoint="trained/epoch_1.pth", prefix="backbone.")))
"""
SHORT = ["--cfg-options", "train_cfg.max_epochs=2", "train_cfg.val_interval=9"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a data set, a config that counts, and a training of one epoch."""
    root = tmp_path_factory.mktemp("reads")
    write_data(root)
    write_configs(root)
    (root / "counting.py").write_text(_COUNTING)
    (root / "counted.py").write_text(_COUNTED)
    run(root, "train.py", "epochs.py", "--work-dir", "trained", *SHORT)
    (root / "trained" / "epoch_2.pth").unlink()
    return root


def reads(place: Path, *command: object) -> tuple[int, Counter[str]]:
    """Run a tool; return how many processes read something, and how often each file was read."""
    notes = place / "reads"
    notes.write_text("")
    run(place, *command, PORT=free_port(), PYTHONPATH=f"{place}:{ROOT}")
    pairs = [line.split() for line in notes.read_text().splitlines()]
    return len({process for process, _ in pairs}), Counter(name for _, name in pairs)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_reads_each_file_once_a_process(place, processes):
    work = ["--work-dir", f"work{processes}"]
    begin = ["train.py", "counted.py"] if processes == 1 else ["dist_train.sh", "counted.py", 2]
    short = [*work, *SHORT]
    assert reads(place, *begin, *short) == (processes, {"epoch_1.pth": processes})
    # What the weights began with, and what is resumed.
    longer = [*short[:-2], "train_cfg.max_epochs=3"]
    expected = {"epoch_1.pth": processes, "epoch_2.pth": processes}
    assert reads(place, *begin, "--resume", "auto", *longer) == (processes, expected)
    final = load_file(place / f"work{processes}" / "epoch_3.pth")
    assert final["meta"]["epoch"] == 3


def test_weights_to_start_from_and_to_test_are_read_once(place):
    weights = place / "trained" / "epoch_1.pth"
    torch.save({"state_dict": load_file(weights)["state_dict"]}, place / "weights.pth")
    options = [*SHORT, "load_from=weights.pth", "model.backbone.init_cfg=None"]
    found = reads(place, "train.py", "counted.py", "--work-dir", "started", *options)
    assert found == (1, {"weights.pth": 1})
    found = reads(place, "test.py", "counted.py", "weights.pth", "--work-dir", "tested")
    assert found == (1, {"weights.pth": 1})
