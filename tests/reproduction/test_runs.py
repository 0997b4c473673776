"""What runs leave behind, whole and damaged; how far they are, with real locks."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import logs, plan, runs
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.runs import State
from mmscalablevit.runner import resume
from mmscalablevit.runner.locking import lock_work_dir
from tests.reproduction.making import (
    train_records,
    write_checkpoint,
    write_metrics,
    write_start,
    write_tables,
)


@pytest.fixture
def trainings(tmp_path, monkeypatch) -> list[plan.Training]:
    """The classifier and the segmentor that starts from it."""
    monkeypatch.chdir(tmp_path)
    tables = load_tables(write_tables(tmp_path))
    return plan.plan(tables, plan.select_rows([tables["both"]]), Path("runs"))


def read_log(name: str) -> tuple[logs.Log, list[str]]:
    problems: list[str] = []
    return logs.read_log(Path(name), problems), problems


def log_starts(name: str, *starts: list[dict]) -> logs.Log:
    """The log of a run that was started several times."""
    for day, records in enumerate(starts, 1):
        write_start(Path(name), Path("cls.py"), records, f"202601{day:02}_000000")
    log, problems = read_log(name)
    assert not problems
    return log


def test_a_resumed_run_has_one_log(trainings):
    """The first start logs to iteration 13 and validates after 5 and 10; the last goes on from
    the checkpoint of iteration 5, so that 6 to 13 and the validation after 10 are its own."""
    first = [*train_records(1, 5, per_epoch=5), {"acc": 1.0, "step": 1}]
    first += [*train_records(6, 10, per_epoch=5), {"acc": 2.0, "step": 2}]
    first += train_records(11, 13, per_epoch=5)
    last = [*train_records(6, 10, per_epoch=5), {"acc": 9.0, "step": 2}]
    last += train_records(11, 15, per_epoch=5)
    log = log_starts("run", first, [], last)  # the second died before its first record
    assert (log.iteration, log.epoch) == (15, 3)
    assert [value.values["acc"] for value in log.validations] == [1.0, 9.0]
    undone = [*train_records(1, 10), {"acc": 2.0, "step": 2}]
    log = log_starts("undone", undone, train_records(6, 7))
    assert log.iteration == 7 and log.validations == []
    kept = [*train_records(2, 10, 2), {"acc": 2.0, "step": 10}]
    log = log_starts("kept", kept, train_records(12, 14, 2))
    assert log.iteration == 14 and [validation.step for validation in log.validations] == [10]


def test_damaged_lines_are_named_and_the_rest_is_read(trainings):
    validation = {"acc": 0.5, "big": 10**400, "flag": True, "name": "x", "nan": float("nan")}
    log_starts("run", [*train_records(1, 3), {**validation, "step": 1}])
    path = Path("run/20260101_000000/vis_data/scalars.json")
    lines = path.read_text().splitlines()
    bad = ["{", "[1]", '{"step": "x"}', '{"step": -1}', '{"loss": 1}', "[" * 100_000, "\x00\x01"]
    bad += ['{"lr": 1, "iter": 1, "step": 1' + "0" * 500 + "}", '{"step": NaN, "lr": 1}']
    path.write_text("\n".join([lines[0], *bad, *lines[1:], lines[2][:20]]))
    log, problems = read_log("run")
    assert log.iteration == 3
    assert log.validations[0].values.keys() == {"acc", "nan", "step"}
    assert "scalars.json: damaged lines: 2, 3, 4, 5, 6 and 5 more" in problems[0]
    path.write_text("\n".join(lines)[:-9])
    assert read_log("run")[1] == [f"{path}: the last line is cut short"]
    path.unlink()
    path.mkdir()
    assert "cannot be read" in read_log("run")[1][0]
    assert read_log("nothing")[1] == []


def test_metrics_of_a_test_are_those_of_the_right_checkpoint(tmp_path):
    path, problems = tmp_path / "metrics.json", []

    def read(final: str = "a.pth") -> dict[str, float] | None:
        return logs.read_metrics(path, tmp_path / final, problems)

    assert read() is None and not problems
    metrics = {"mIoU": 1, "big": 10**400, "name": "x", "flag": True}
    path.write_text(json.dumps({"checkpoint": "w/a.pth", "metrics": metrics}))
    assert read() == {"mIoU": 1.0} and not problems
    assert read("b.pth") is None and "is of w/a.pth, not of b.pth" in problems.pop()
    for text in (
        "",
        "[]",
        "{}",
        '{"metrics": 3, "checkpoint": "a.pth"}',
        "{" * 10_000,
        "[" * 10**6,
    ):
        path.write_text(text)
        assert read() is None and "damaged" in problems.pop()


def test_the_newest_whole_checkpoint_of_the_run_itself_is_found(tmp_path):
    for epoch in (1, 2, 10):
        write_checkpoint(tmp_path / f"epoch_{epoch}.pth")
    cut = tmp_path / "epoch_10.pth"
    cut.write_bytes(cut.read_bytes()[:-30])
    (tmp_path / "epoch_11.pth").mkdir()
    (tmp_path / "best_acc_epoch_12.pth").write_bytes(b"")
    problems: list[str] = []
    assert logs.newest_checkpoint(tmp_path, problems) == tmp_path / "epoch_2.pth"
    assert [p.split(" is")[0] for p in problems] == [str(tmp_path / "epoch_11.pth"), str(cut)]
    within = tmp_path / "epoch_1_iter_9.pth"
    write_checkpoint(within)
    resume.note_last(tmp_path, within.name)  # so that the others are of an earlier run
    assert logs.newest_checkpoint(tmp_path, []) == within


def begin(training: plan.Training) -> None:
    """Make the traces of a run that has begun."""
    write_start(training.work_dir, training.config, train_records(1, 3, per_epoch=2))
    write_checkpoint(training.work_dir / "epoch_1.pth")


def states(trainings: list[plan.Training]) -> list[State]:
    return [runs.examine(training).state for training in trainings]


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


def hold_lock(work_dir: Path, told: Connection) -> None:
    """Take the lock as tools/train.py does, tell so, and wait."""
    with lock_work_dir(work_dir):
        told.send("locked")
        time.sleep(100)


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
            found = runs.examine(cls)
            assert found.state is State.RUNNING
            assert found.holder.startswith(f"process {process.pid} on ")
        said = f"process {process.pid} on .* trains in runs/cls"
        with pytest.raises(UsageError, match=said), lock_work_dir(cls.work_dir):
            pass
    finally:
        process.kill()
        process.join()
    assert states([cls]) == [State.INTERRUPTED]
    with lock_work_dir(cls.work_dir):
        pass
    assert (cls.work_dir / ".lock").read_text() == ""  # an end, not a death


def test_a_run_on_another_machine_counts_as_running_while_it_gives_signs_of_life(trainings):
    cls, _ = trainings
    begin(cls)
    holder = {"pid": 5, "host": "elsewhere", "slurm_job": "77"}
    (cls.work_dir / ".lock").write_text(json.dumps(holder))
    found = runs.examine(cls)
    assert found.state is State.RUNNING
    assert "elsewhere (Slurm job 77) gave a sign of life 0 min" in found.holder
    old = time.time() - 3600
    for path in [*cls.work_dir.rglob("*"), cls.work_dir / ".lock"]:
        os.utime(path, (old, old))
    assert states([cls]) == [State.INTERRUPTED]


def lacking(training: plan.Training) -> list[str]:
    return [test.name for test in runs.examine(training).lacking]


def test_tests_are_lacking_until_they_have_run_on_the_final_checkpoint(trainings):
    _, seg = trainings
    assert lacking(seg) == ["tta"]
    validated = [*train_records(10, 20, 10), {"mIoU": 1.0, "step": 20}]
    write_start(seg.work_dir, seg.config, validated)
    write_checkpoint(seg.final)
    assert lacking(seg) == ["tta"]
    metrics = seg.work_dir / "tta" / "metrics.json"
    write_metrics(metrics, "runs/seg/iter_10.pth", mIoU=1.0)
    assert lacking(seg) == ["tta"]
    write_metrics(metrics, "runs/seg/iter_20.pth", mIoU=1.0)
    assert lacking(seg) == []
    os.utime(metrics, (1, 1))  # before the checkpoint
    assert lacking(seg) == ["tta"]
