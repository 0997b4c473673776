"""The scripts that make what tables lack, run by bash with stand-ins for training and Slurm."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import plan, state
from mmscalablevit.reproduction.launching import Launch, Options, prepare
from mmscalablevit.reproduction.published import load_tables
from tests.reproduction.making import (
    train_records,
    write_checkpoint,
    write_config,
    write_metrics,
    write_start,
    write_tables,
)

# Writes its arguments to a file and does as if it trained or tested: makes the file that is last.
TOOL = r"""
import json, os, pathlib, sys
words = sys.argv[1:]
with open("calls", "a") as calls:
    calls.write(json.dumps(words) + "\n")
work = pathlib.Path(words[words.index("--work-dir") + 1])
work.mkdir(parents=True, exist_ok=True)
if work.name == os.environ.get("FAIL"):
    sys.exit(3)
name = {"cls": "epoch_4.pth", "seg": "iter_20.pth"}.get(work.name, "metrics.json")
(work / name).write_text("{}")
"""

# Starts the same with the number of processes, as torchrun would.
DIST = r"""
tool=$(dirname "$0")/$(basename "$0" .sh | sed s/dist_//).py
words=("$@")
[[ $tool == *test.py ]] && at=2 || at=1
echo "PORT ${words[at]} ${PORT:?}" >>ports
unset "words[$at]"
exec python3 "$tool" "${words[@]}"
"""

# A queue in files: each job is a file with sbatch's line, and is in the queue until it is removed.
SBATCH = r"""#!/usr/bin/env python3
import json, os, pathlib, sys
queue = pathlib.Path(os.environ["QUEUE"])
number = 100 + len(list(queue.glob("*.json")))
(queue / f"{number}.json").write_text(json.dumps(sys.argv[1:]))
(queue / f"{number}.queued").touch()
print(f"{number};cluster")
"""
SQUEUE = r"""#!/bin/bash
format='%A'
for word in "$@"; do [[ $word == --format=* ]] && format=${word#--format=}; done
for job in "$QUEUE"/*.queued; do
    [[ -e $job ]] || continue
    id=$(basename "$job" .queued)
    [[ $format == '%A' ]] && echo "$id" || echo "$id PENDING"
done
"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A place with tables, tools that only note how they were called, and a queue."""
    place = tmp_path / "a place"
    (place / "tools").mkdir(parents=True)
    for name in ("train.py", "test.py"):
        (place / "tools" / name).write_text(TOOL)
    for name in ("dist_train.sh", "dist_test.sh"):
        (place / "tools" / name).write_text(DIST)
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
        (place / "bin").mkdir(exist_ok=True)
        (place / "bin" / name).write_text(text)
        (place / "bin" / name).chmod(0o755)
    (place / "queue").mkdir()
    write_tables(place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(place / "queue"))
    monkeypatch.setenv("PYTHON", "python3")
    return place


def launch(
    *names: str, gpus: int | None = None, partition: str | None = None, work_dirs: str = "runs"
) -> Launch:
    """What the tables lack at present."""
    tables = load_tables(Path.cwd() / "tables.yml")
    chosen = [tables[name] for name in names]
    trainings = plan.plan(tables, plan.select_rows(chosen), Path(work_dirs))
    options = Options(Path.cwd() / "tools", gpus, partition)
    return prepare(chosen, trainings, options, state.slurm_jobs() if partition else None)


def run(script: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a script as if it was pasted into a shell; it ends before the line after it."""
    text = f"{script}echo status $?\n"
    environment = {**os.environ, **environment}
    return subprocess.run(
        ["bash"], input=text, text=True, capture_output=True, env=environment, check=True
    )


def calls() -> list[list[str]]:
    """The tools' command lines so far, which are then forgotten."""
    path = Path("calls")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


TRAIN_CLS = ["cls.py", "--work-dir", "runs/cls", "--resume", "auto"]
TRAIN_SEG = ["seg.py", "--work-dir", "runs/seg", "--resume", "auto", "--cfg-options"]
WEIGHTS = "model.backbone.init_cfg.checkpoint="
TEST_SEG = [
    "seg.py", "runs/seg/iter_20.pth", "--work-dir", "runs/seg/tta", "--tta", "--cfg-options",
    "a='b c'",
]  # fmt: skip


def test_runs_follow_each_other_and_are_made_once(root):
    found = launch("dense")
    assert (found.gpus, found.notes) == (2, ())
    done = run(found.script)
    assert done.stdout.splitlines()[-1] == "status 0"
    assert calls() == [TRAIN_CLS, [*TRAIN_SEG, f"{WEIGHTS}runs/cls/epoch_4.pth"], TEST_SEG]
    words = [line.split() for line in Path("ports").read_text().splitlines()]
    assert [word[1] for word in words] == ["2", "2", "2"]
    assert len({word[2] for word in words}) == 1 and int(words[0][2]) > 1024
    run(found.script)
    assert calls() == []


def test_a_whole_model_starts_from_the_run_that_it_needs(root):
    with Path("seg.py").open("a") as config:
        config.write("load_from = 'released.pth'\n")
    run(launch("dense").script)
    assert calls() == [TRAIN_CLS, [*TRAIN_SEG, "load_from=runs/cls/epoch_4.pth"], TEST_SEG]


def test_released_weights_spare_the_pretraining_where_the_script_runs(root):
    script = launch("dense").script
    Path("released.pth").touch()
    run(script)
    assert calls() == [[*TRAIN_SEG, f"{WEIGHTS}released.pth"], TEST_SEG]
    Path("runs/seg/iter_20.pth").unlink()
    assert "cls.py" not in launch("dense").script


def test_the_pretraining_that_is_a_row_itself_is_made_in_any_case(root):
    Path("released.pth").touch()
    run(launch("both").script)
    assert calls() == [TRAIN_CLS, [*TRAIN_SEG, f"{WEIGHTS}runs/cls/epoch_4.pth"], TEST_SEG]


def test_a_failure_does_not_stop_the_others_and_is_told(root):
    done = run(launch("both").script, FAIL="cls")
    assert [words[0] for words in calls()] == ["cls.py", "seg.py", "seg.py"]
    assert "failed: training cls" in done.stderr.splitlines()[-1]
    assert done.stdout.splitlines()[-1] == "status 1"
    run(launch("both").script)
    assert calls() == [TRAIN_CLS]


def test_elsewhere_the_script_stops_and_the_shell_goes_on(root):
    script = launch("both").script
    os.chdir("queue")
    done = run(script)
    assert "error: run this in the directory" in done.stderr
    assert done.stdout.splitlines() == ["status 1"]


def test_another_number_of_gpus_scales_the_learning_rate_and_says_so(root):
    found = launch("both", gpus=1)
    assert found.notes == (
        "cls: 1 GPU(s) x 4 images instead of 2 x 4: the learning rate is scaled by 0.5",
        "seg: 1 GPU(s) x 4 images instead of 2 x 4: the learning rate is scaled by 0.5; its 20 "
        "iterations see 0.5 times as many images",
    )
    assert all(f"# {note}\n" in found.script for note in found.notes)
    run(found.script)
    words = [*TRAIN_SEG[:5], "--auto-scale-lr", "--cfg-options", f"{WEIGHTS}runs/cls/epoch_4.pth"]
    assert calls() == [[*TRAIN_CLS, "--auto-scale-lr"], words, TEST_SEG]
    assert not Path("ports").exists()


def finish(name: str, length: int, checkpoint: str, **metrics: float) -> Path:
    """Make the traces of a run that has come to its end and its last validation."""
    work = Path("runs") / name
    records = [*train_records(1, 20), {**metrics, "step": length}]
    write_start(work, Path(f"{name}.py"), records, "20260102_000000")
    write_checkpoint(work / checkpoint)
    return work


def test_what_is_finished_is_not_started_and_what_was_interrupted_goes_on(root):
    finish("cls", 4, "epoch_4.pth", **{"accuracy/top1": 1.0})
    write_start(Path("runs/seg"), Path("seg.py"), train_records(1, 3))
    write_config(Path("seg.py"), "max_iters=20, val_interval=5", released="released.pth")
    found = launch("both")
    assert found.notes == (
        "cls: finished",
        "seg: was interrupted, goes on from its newest checkpoint; its config has changed since: "
        "train_cfg.type: 'IterBasedTrainLoop' -> nothing; train_cfg.val_interval: nothing -> 5",
    )
    run(found.script)
    assert [words[0] for words in calls()] == ["seg.py", "seg.py"]
    work = finish("seg", 20, "iter_20.pth", mIoU=1.0)
    write_metrics(work / "tta" / "metrics.json", "iter_20.pth", mIoU=1.0)
    found = launch("both")
    assert found.script is None and found.notes[0] == "cls: finished"


def test_what_runs_is_not_started_and_what_needs_it_waits(root, monkeypatch):
    finish("cls", 4, "epoch_2.pth")
    running = state.Status(state.State.RUNNING, "process 5 on here")
    missing = state.Status(state.State.MISSING)
    monkeypatch.setattr(
        "mmscalablevit.reproduction.launching.examine",
        lambda training, jobs: running if training.name == "cls" else missing,
    )
    found = launch("both")
    assert found.script is None
    assert found.notes == (
        "cls: running: process 5 on here",
        "seg: waits for cls; launch again when that is finished",
    )
    Path("released.pth").touch()
    run(launch("both").script)
    assert [*TRAIN_SEG, f"{WEIGHTS}released.pth"] in calls()


def test_paths_that_cannot_be_passed_on_are_refused(root):
    with pytest.raises(UsageError, match=r"'my runs/cls/epoch_4.pth': the path of weights"):
        launch("both", work_dirs="my runs")
    run(launch("both", work_dirs="$HOME;x").script)
    assert calls()[0] == ["cls.py", "--work-dir", "$HOME;x/cls", "--resume", "auto"]


def jobs() -> dict[str, list[str]]:
    """sbatch's lines by the number of the job."""
    paths = sorted(Path("queue").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths}


def command(line: list[str]) -> list[str]:
    """The words that the job's shell makes of its script."""
    (wrapped,) = (word.removeprefix("--wrap=") for word in line if word.startswith("--wrap="))
    return shlex.split(wrapped)


def option(line: list[str], name: str) -> str | None:
    return next((word.split("=", 1)[1] for word in line if word.startswith(f"--{name}=")), None)


def test_slurm_jobs_wait_for_those_that_they_need(root):
    done = run(launch("dense", partition="gpu nodes").script)
    assert "seg: job 101, after job 100" in done.stdout
    train, dense, test = jobs().values()
    assert train == [
        "--parsable", "--partition=gpu nodes", "--job-name=cls", "--ntasks=2",
        "--ntasks-per-node=2", "--cpus-per-task=5", "--gres=gpu:2", "--kill-on-invalid-dep=yes",
        "--requeue", "--open-mode=append", "--output=runs/cls/slurm-%j.log", train[-1],
    ]  # fmt: skip
    settings = ["env", "GPUS=2", "GPUS_PER_NODE=2", "GRES=gpu:2", "bash"]
    assert command(train) == [
        *settings, "tools/slurm_train.sh", "gpu nodes", "cls", "cls.py", "runs/cls", "--resume",
        "auto",
    ]  # fmt: skip
    assert option(dense, "dependency") == "afterok:100"
    assert command(dense)[-2:] == ["--cfg-options", f"{WEIGHTS}runs/cls/epoch_4.pth"]
    assert (option(test, "dependency"), option(test, "job-name")) == ("afterok:101", "seg-tta")
    assert command(test) == [
        *settings, "tools/slurm_test.sh", "gpu nodes", "seg-tta", "seg.py",
        "runs/seg/iter_20.pth", "--work-dir", "runs/seg/tta", *TEST_SEG[4:],
    ]  # fmt: skip


def test_slurm_jobs_in_the_queue_are_not_submitted_again(root):
    found = launch("both", partition="p")
    run(found.script)
    run(found.script)  # pasted twice
    again = launch("both", partition="p")
    assert again.notes == (
        "cls: queued, Slurm job 100, pending", "seg: queued, Slurm job 101, pending"
    )  # fmt: skip
    run(again.script or "")
    assert len(jobs()) == 3
    Path("queue/101.queued").unlink()  # the segmentor has failed, and its test with it
    Path("queue/102.queued").unlink()
    run(launch("both", partition="p").script)
    assert list(jobs()) == ["100", "101", "102", "103", "104"]
    assert option(jobs()["103"], "dependency") == "afterok:100"
    assert option(jobs()["104"], "dependency") == "afterok:103"


def test_settings_of_slurm_reach_sbatch_and_srun(root):
    script = launch("dense", partition="p", gpus=16).script
    Path("released.pth").touch()
    run(script, GRES="", CPUS_PER_TASK="3", GPUS_PER_NODE="4")
    train, _ = jobs().values()
    assert option(train, "gres") is None and option(train, "ntasks-per-node") == "4"
    assert (option(train, "cpus-per-task"), option(train, "ntasks")) == ("3", "16")
    assert command(train)[:4] == ["env", "GPUS=16", "GPUS_PER_NODE=4", "GRES="]
    assert command(train)[-3:] == ["--auto-scale-lr", "--cfg-options", f"{WEIGHTS}released.pth"]


def test_a_failing_sbatch_stops_the_script(root):
    (root / "bin" / "sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
    done = run(launch("both", partition="p").script)
    assert "invalid partition" in done.stderr and done.stdout == "status 1\n"
    assert not Path("runs/cls/slurm_job").exists()
