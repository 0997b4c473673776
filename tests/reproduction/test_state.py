"""How far runs are, with real locks and stand-ins for Slurm."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import logs, plan, state
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.state import State
from mmscalablevit.runner.locking import lock_work_dir
from tests.reproduction.making import (
    train_records,
    write_checkpoint,
    write_metrics,
    write_start,
    write_tables,
)

# Takes the lock as tools/train.py does, and ends.
LOCK = """
import sys
from mmscalablevit.runner.locking import lock_work_dir
with lock_work_dir(sys.argv[1]):
    pass
"""


def hold_lock(work_dir: Path, told: Connection) -> None:
    """Take the lock as tools/train.py does, tell so, and wait."""
    with lock_work_dir(work_dir):
        told.send("locked")
        time.sleep(100)


@pytest.fixture
def trainings(tmp_path, monkeypatch) -> list[plan.Training]:
    """The classifier and the segmentor that starts from it."""
    monkeypatch.chdir(tmp_path)
    tables = load_tables(write_tables(tmp_path))
    return plan.plan(tables, plan.select_rows([tables["both"]]), Path("runs"))


def begin(training: plan.Training, **lock: object) -> None:
    """Make the traces of a run that has begun, and perhaps those of its process."""
    write_start(training.work_dir, training.run.config, train_records(1, 3, per_epoch=2))
    write_checkpoint(training.work_dir / "epoch_1.pth")
    if lock:
        (training.work_dir / ".lock").write_text(json.dumps({"pid": 5, "slurm_job": None, **lock}))


def states(trainings, jobs=None) -> list[State]:
    return [state.examine(training, jobs).state for training in trainings]


def test_missing_interrupted_done(trainings):
    cls, seg = trainings
    seg.work_dir.mkdir(parents=True)
    assert states(trainings) == [State.MISSING, State.MISSING]
    begin(cls)
    write_checkpoint(seg.final)
    assert states(trainings) == [State.INTERRUPTED, State.DONE]
    write_checkpoint(cls.final)
    cls.final.write_bytes(cls.final.read_bytes()[:-40])
    assert states(trainings) == [State.INTERRUPTED, State.DONE]


def test_a_lock_lives_as_long_as_its_process_and_no_longer(trainings):
    cls, _ = trainings
    begin(cls)
    context = multiprocessing.get_context("fork")  # nothing is to be imported again
    here, there = context.Pipe()
    process = context.Process(target=hold_lock, args=(cls.work_dir, there), daemon=True)
    process.start()
    try:
        assert here.recv() == "locked"
        for _ in range(2):  # looking does not take it away
            status = state.examine(cls, None)
            assert status.state is State.RUNNING
            assert status.remark.startswith(f"process {process.pid} on ")
        said = f"process {process.pid} on .* trains in runs/cls"
        with pytest.raises(UsageError, match=said), lock_work_dir(cls.work_dir):
            pass
    finally:
        process.kill()
        process.join()
    assert states([cls]) == [State.INTERRUPTED]
    subprocess.run([sys.executable, "-c", LOCK, cls.work_dir], check=True)
    assert (cls.work_dir / ".lock").read_text() == ""  # an end, not a death


def test_a_run_on_another_machine_counts_as_running_while_it_gives_signs_of_life(trainings):
    cls, _ = trainings
    begin(cls, host="elsewhere")
    status = state.examine(cls, None)
    assert status.state is State.RUNNING and "elsewhere gave a sign of life 0 min" in status.remark
    old = time.time() - 3600
    for path in cls.work_dir.rglob("*"):
        os.utime(path, (old, old))
    os.utime(cls.work_dir / ".lock", (old, old))
    assert states([cls]) == [State.INTERRUPTED]


def test_slurm_knows_which_jobs_have_ended(trainings):
    cls, _ = trainings
    begin(cls, host="elsewhere", slurm_job="77")
    assert states([cls], {"77": "RUNNING"}) == [State.RUNNING]
    assert states([cls], {}) == [State.INTERRUPTED]
    (cls.work_dir / state.JOB_NAME).write_text("78\n")
    status = state.examine(cls, {"78": "PENDING"})
    assert (status.state, status.job, status.remark) == (
        State.QUEUED, "78", "Slurm job 78, pending"
    )  # fmt: skip
    assert states([cls], {"78": "RUNNING"}) == [State.RUNNING]
    assert states([cls], {"79": "RUNNING"}) == [State.INTERRUPTED]
    status = state.examine(cls, None)
    assert status.state is State.QUEUED and "no squeue here" in status.remark


def test_squeue_is_asked_and_its_failure_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert state.slurm_jobs() is None
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\necho "12 PENDING"\necho "13 RUNNING"\n')
    squeue.chmod(0o755)
    assert state.slurm_jobs() == {"12": "PENDING", "13": "RUNNING"}
    squeue.write_text("#!/bin/sh\necho 'slurmctld is down' >&2\nexit 1\n")
    with pytest.raises(UsageError, match="slurmctld is down"):
        state.slurm_jobs()


def lacking(training: plan.Training) -> list[str]:
    done = state.examine(training, None).state is State.DONE
    tests = state.lacking_tests(training, logs.read_curve(training.work_dir), done)
    return [test.name for test in tests]


def test_tests_are_lacking_until_they_have_run_on_the_final_checkpoint(trainings):
    _, seg = trainings
    assert lacking(seg) == ["tta"]
    validated = [*train_records(10, 20, 10), {"mIoU": 1.0, "step": 20}]
    write_start(seg.work_dir, seg.run.config, validated)
    write_checkpoint(seg.final)
    assert lacking(seg) == ["tta"]
    metrics = seg.work_dir / "tta" / "metrics.json"
    write_metrics(metrics, "runs/seg/iter_10.pth", mIoU=1.0)
    assert lacking(seg) == ["tta"]
    write_metrics(metrics, "runs/seg/iter_20.pth", mIoU=1.0)
    assert lacking(seg) == []
    os.utime(metrics, (1, 1))  # before the checkpoint
    assert lacking(seg) == ["tta"]


def test_a_lost_final_validation_is_made_up_for_by_a_test(trainings):
    """Killed between the last checkpoint and the end of the validation that follows it."""
    cls, _ = trainings
    records = [*train_records(1, 4, per_epoch=2), {"accuracy/top1": 50.0, "step": 2}]
    write_start(cls.work_dir, cls.run.config, [*records, *train_records(5, 8, per_epoch=2)])
    write_checkpoint(cls.final)
    assert lacking(cls) == [state.FINAL_VALIDATION]
    path = cls.work_dir / state.FINAL_VALIDATION / "metrics.json"
    write_metrics(path, "epoch_4.pth", **{"accuracy/top1": 60.0})
    assert lacking(cls) == []


def test_progress(trainings):
    cls, seg = trainings
    records = train_records(1, 3, per_epoch=2)
    write_start(cls.work_dir, cls.run.config, records)
    write_start(seg.work_dir, seg.run.config, train_records(5, 15, 5))
    curves = [logs.read_curve(training.work_dir) for training in trainings]
    assert [state.progress(t.schedule, c) for t, c in zip(trainings, curves, strict=True)] == [
        "epoch 2/4", "iteration 15/20"
    ]  # fmt: skip
