"""The commands that make what tables lack, run with stand-ins for training and testing."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from mmscalablevit.reproduction import runs
from mmscalablevit.runner.locking import Holder
from tests.reproduction.making import (
    ROOT,
    load_tool,
    train_records,
    write_checkpoint,
    write_config,
    write_metrics,
    write_start,
    write_tables,
)

# In the place of every script: notes its arguments and does as if it trained or tested.
SCRIPT = r"""
python3 - "$(basename "$0")" "$@" <<'PYTHON'
import json, os, pathlib, sys
words = sys.argv[1:]
with open("calls", "a") as calls:
    calls.write(json.dumps([*words, os.environ.get("GPUS", "")]) + "\n")
work = pathlib.Path(words[words.index("--work-dir") + 1 if "--work-dir" in words else 4])
work.mkdir(parents=True, exist_ok=True)
if work.name == os.environ.get("FAIL"):
    sys.exit(3)
name = {"cls": "epoch_4.pth", "seg": "iter_20.pth"}.get(work.name, "metrics.json")
(work / name).write_text("{}")
PYTHON
"""

TRAIN_CLS = ["dist_train.sh", "cls.py", "2", "--work-dir", "runs/cls", "--resume", "auto"]
TRAIN_SEG = ["dist_train.sh", "seg.py", "2", "--work-dir", "runs/seg", "--resume", "auto"]
WEIGHTS = "model.backbone.init_cfg.checkpoint="
FROM_CLS = ["--cfg-options", f"{WEIGHTS}runs/cls/epoch_4.pth"]
FROM_RELEASED = ["--cfg-options", f"{WEIGHTS}released.pth"]
TEST_OPTIONS = ["--work-dir", "runs/seg/tta", "--tta", "--cfg-options", "a='b c'"]
TEST_SEG = ["dist_test.sh", "seg.py", "runs/seg/iter_20.pth", "2", *TEST_OPTIONS]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A directory with tables, and tools that only note how they were called."""
    root = tmp_path / "a place"
    (root / "tools").mkdir(parents=True)
    for name in ("dist_train", "dist_test", "slurm_train", "slurm_test"):
        (root / "tools" / f"{name}.sh").write_text(SCRIPT)
    write_tables(root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    return root


def launch(*words: str) -> None:
    """Run `launch` with the stand-ins in the place of the tools."""
    tool = load_tool()
    tool["launch"].__globals__["__file__"] = str(Path("tools/reproduce.py").absolute())
    tool["main"](["launch", *words, "--tables", "tables.yml", "--work-dirs", "runs"])


def calls() -> list[list[str]]:
    """The command lines so far with the GPUs for Slurm, which are then forgotten."""
    path = Path("calls")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def test_runs_follow_each_other_and_are_made_once(place, capfd):
    launch("dense")
    expected = [[*TRAIN_CLS, ""], [*TRAIN_SEG, *FROM_CLS, ""], [*TEST_SEG, ""]]
    assert calls() == expected
    for path in Path("runs").rglob("*.pth"):  # what the stand-ins have made is no checkpoint
        path.unlink()
    capfd.readouterr()
    launch("dense", "--launcher", "print")
    printed = capfd.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[::2] == [
        "# cls: pretraining for other runs, on 2 GPU(s)",
        "# seg: Segmentor of table dense, on 2 GPU(s)",
        "# seg: test tta, on 2 GPU(s)",
    ]
    subprocess.run(["bash"], input=printed.out, text=True, check=True)
    assert calls() == expected
    write_checkpoint(Path("runs/cls/epoch_4.pth"))
    work = finish("seg", 20, "iter_20.pth", mIoU=1.0)
    write_metrics(work / "tta" / "metrics.json", "iter_20.pth", mIoU=1.0)
    launch("dense")
    assert calls() == []
    assert capfd.readouterr() == ("", "seg: finished\nnothing is to be started\n")


def test_slurm_gets_partition_name_and_gpus(place, capsys):
    launch("both", "--launcher", "slurm", "--partition", "a b", "--gpus", "4")
    options = ["--resume", "auto", "--auto-scale-lr"]
    assert calls() == [
        ["slurm_train.sh", "a b", "cls", "cls.py", "runs/cls", *options, "4"],
        ["slurm_train.sh", "a b", "seg", "seg.py", "runs/seg", *options, *FROM_CLS, "4"],
        ["slurm_test.sh", "a b", "seg-tta", "seg.py", TEST_SEG[2], *TEST_OPTIONS, "4"],
    ]
    launch("both", "--launcher", "print", "--partition", "p", "--rows", "Classifier")
    line = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(line)[:3] == ["env", "GPUS=2", "bash"]


def test_a_whole_model_starts_from_the_run_that_it_needs(place):
    with Path("seg.py").open("a") as config:
        config.write("load_from = 'released.pth'\n")
    launch("dense")
    assert calls()[1][-3:-1] == ["--cfg-options", "load_from=runs/cls/epoch_4.pth"]


def test_released_weights_spare_the_pretraining_unless_that_is_a_row_itself(place, capsys):
    Path("released.pth").touch()
    launch("dense")
    assert calls() == [[*TRAIN_SEG, *FROM_RELEASED, ""], [*TEST_SEG, ""]]
    assert "seg: starts from released.pth" in capsys.readouterr().err
    launch("both")
    assert [line[:2] for line in calls()][:2] == [TRAIN_CLS[:2], TRAIN_SEG[:2]]


def test_a_failure_stops_what_needs_it_and_is_told(place, capfd, monkeypatch):
    monkeypatch.setenv("FAIL", "cls")
    with pytest.raises(SystemExit, match=r"failed: cls: .*, seg: "):
        launch("both")
    assert [line[1] for line in calls()] == ["cls.py"]
    errors = capfd.readouterr().err
    assert "== failed: cls: Classifier of table both" in errors
    assert "== left out for want of runs/cls/epoch_4.pth: seg: Segmentor" in errors
    Path("released.pth").touch()
    monkeypatch.setenv("FAIL", "seg")
    with pytest.raises(SystemExit, match=r"failed: seg: .*, seg: test tta"):
        launch("dense")


def test_another_number_of_gpus_scales_the_learning_rate_and_says_so(place, capsys):
    launch("both", "--launcher", "print", "--gpus", "1")
    out, notes = capsys.readouterr()
    assert notes.splitlines() == [
        "cls: 1 GPU(s) x 4 images instead of 2 x 4: the learning rate is scaled by 0.5",
        "seg: 1 GPU(s) x 4 images instead of 2 x 4: the learning rate is scaled by 0.5; its 20 "
        "iterations see 0.5 times as many images",
    ]
    assert out.count("--auto-scale-lr") == 2


def finish(name: str, length: int, checkpoint: str, **metrics: float) -> Path:
    """Make the traces of a run that has come to its end and its last validation."""
    work = Path("runs") / name
    records = [*train_records(1, 20), {**metrics, "step": length}]
    write_start(work, Path(f"{name}.py"), records, "20260102_000000")
    write_checkpoint(work / checkpoint)
    return work


def test_what_was_interrupted_goes_on_and_says_what_has_changed(place, capsys):
    finish("cls", 4, "epoch_4.pth", **{"accuracy/top1": 1.0})
    write_start(Path("runs/seg"), Path("seg.py"), train_records(1, 3))
    write_config(Path("seg.py"), "max_iters=20, val_interval=5", released="released.pth")
    launch("both")
    assert capsys.readouterr().err.startswith(
        "cls: finished\n"
        "seg: was interrupted, goes on from its newest checkpoint; its config has changed since: "
        "train_cfg.type: 'IterBasedTrainLoop' -> nothing; train_cfg.val_interval: nothing -> 5\n"
    )
    assert [line[1] for line in calls()] == ["seg.py", "seg.py"]


def test_what_runs_is_not_started_and_what_needs_it_waits(place, monkeypatch, capsys):
    holder = Holder("here", 5)
    monkeypatch.setattr(
        runs, "current_holder", lambda work_dir: holder if work_dir.name == "cls" else None
    )
    launch("both")
    assert calls() == []
    assert capsys.readouterr().err == (
        "cls: running: process 5 on here\n"
        "seg: waits for cls; launch again when that is finished\nnothing is to be started\n"
    )
    Path("released.pth").touch()
    launch("both")
    assert calls()[0] == [*TRAIN_SEG, *FROM_RELEASED, ""]


def test_mistakes_are_named(place):
    for words, message in {
        ("--launcher", "slurm"): "--launcher slurm needs --partition",
        ("--partition", "p"): "--partition is for --launcher slurm or print",
        ("--gpus", "0"): "takes a number from 1 on",
        ("--rows", "Segmentr"): "no row Segmentr that has runs here; there is Segmentor",
        ("--work-dirs", "my runs"): "'my runs/cls/epoch_4.pth': the path of weights",
    }.items():
        with pytest.raises(SystemExit, match=message):
            load_tool()["main"](["launch", "both", *words, "--tables", "tables.yml"])


def test_too_few_gpus_are_told_before_anything_starts(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SystemExit, match="takes 2 GPUs as published, and this machine has 1"):
        launch("both")
    assert calls() == []


def test_the_scripts_take_what_they_are_given(place):
    """Their usage, in the order of the words above."""
    usages = {
        "dist_train": "CONFIG GPUS [", "dist_test": "CONFIG CHECKPOINT GPUS [",
        "slurm_train": "PARTITION JOB_NAME CONFIG WORK_DIR [",
        "slurm_test": "PARTITION JOB_NAME CONFIG CHECKPOINT [",
    }  # fmt: skip
    for name, usage in usages.items():
        done = subprocess.run(
            ["bash", ROOT / f"tools/{name}.sh"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and usage in done.stderr
