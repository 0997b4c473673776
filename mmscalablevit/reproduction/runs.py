"""How far trainings are, what has been measured of them, and what they come from."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mmscalablevit.cli import provenance
from mmscalablevit.reproduction.logs import (
    SCALARS,
    Log,
    clean,
    is_whole,
    list_directory,
    newest_checkpoint,
    read_beside_logs,
    read_log,
    read_metrics,
    starts,
)
from mmscalablevit.reproduction.plan import Training
from mmscalablevit.reproduction.published import Test
from mmscalablevit.runner.locking import LOCK_NAME, current_holder, last_holder
from mmscalablevit.runner.resume import own_checkpoints

# A run on another machine, whose locks may not reach this one, counts as running for as long as
# this after its last sign of life. Logs grow every few minutes; a validation may take longer.
_SIGN_OF_LIFE = 30 * 60  # seconds

# Run by `launch` where a training was killed between its last checkpoint and the end of the
# validation that follows it.
FINAL_VALIDATION = Test("final-validation", (), {})


class State(Enum):
    """How far a training is."""

    MISSING = "missing"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"


@dataclass(frozen=True)
class Measured:
    """What a validation or a test has measured."""

    values: Mapping[str, float]  # by their names in the log
    final: bool  # whether they are of the final checkpoint
    origin: str  # such as "validation at epoch 20"


@dataclass(frozen=True)
class Found:
    """What there is of a training."""

    training: Training
    state: State
    holder: str  # the process that trains; empty where none does
    log: Log
    resumes_from: str  # name of its newest checkpoint, if it is interrupted
    validation: Measured | None  # the last one, or the test that makes up for it
    tests: Mapping[str, Measured]  # of the final checkpoint, those that have been made
    lacking: Sequence[Test]  # that are still to be made
    origins: Sequence[Mapping[str, Any]]  # what provenance.json tells, a start each
    changes: Sequence[str]  # of its config since its starts
    problems: Sequence[str]  # what could not be read or is foreign

    @property
    def progress(self) -> str:
        """How far its log goes, such as ``epoch 37/300``; empty where there is none."""
        schedule, log = self.training.schedule, self.log
        at = log.epoch if schedule.by_epoch and log.epoch is not None else log.iteration
        return f"{schedule.unit} {at}/{schedule.length}" if log.iteration else ""


def examine(training: Training) -> Found:
    """Find out what there is of a training."""
    work_dir, problems = training.work_dir, list[str]()
    log, newest = read_log(work_dir, problems), newest_checkpoint(work_dir, problems)
    state, holder = _state(training, newest)
    done = state is State.DONE
    validation = _validation(training, log, done)
    lost = done and training.validated and not (validation and validation.final)
    tests = {}
    for test in [*training.tests, *([FINAL_VALIDATION] if lost else [])]:
        values = read_metrics(work_dir / test.name / "metrics.json", training.final, problems)
        if values is not None:
            tests[test.name] = Measured(values, done, f"test {test.name}")
    lacking = [test for test in training.tests if not done or test.name not in tests]
    if lost and FINAL_VALIDATION.name in tests:
        validation = tests.pop(FINAL_VALIDATION.name)
    elif lost:
        lacking.insert(0, FINAL_VALIDATION)
        problems.append(f"{work_dir}: the last validation is lost; launch again to make up for it")
    origins = read_beside_logs(work_dir, provenance.FILE_NAME, problems)
    changes = _changes(training, origins, problems)
    known = {path.name for path in starts(work_dir)} | {test.name for test in training.tests}
    problems += [
        f"{path}: neither a start of the run nor one of its tests, passed over"
        for path in list_strangers(work_dir, known | {FINAL_VALIDATION.name})
        if path.is_dir()
    ]
    return Found(
        training=training,
        state=state,
        holder=holder,
        log=log,
        resumes_from=newest.name if newest and state is State.INTERRUPTED else "",
        validation=validation,
        tests=tests,
        lacking=lacking,
        origins=origins,
        changes=changes,
        problems=problems,
    )


def _state(training: Training, newest: Path | None) -> tuple[State, str]:
    """Tell how far a training is, and which process trains."""
    work_dir = training.work_dir
    if holder := current_holder(work_dir):
        return State.RUNNING, str(holder)
    if is_whole(training.final) and training.final in own_checkpoints(work_dir):
        return State.DONE, ""
    if not starts(work_dir) and newest is None:
        return State.MISSING, ""
    holder = last_holder(work_dir)
    if holder and holder.host != socket.gethostname():
        quiet = time.time() - _last_sign_of_life(work_dir)
        if quiet < _SIGN_OF_LIFE:
            return State.RUNNING, f"{holder} gave a sign of life {quiet / 60:.0f} min ago"
    return State.INTERRUPTED, ""


def _last_sign_of_life(work_dir: Path) -> float:
    """When a run has last written what it writes again and again."""
    files = [work_dir / LOCK_NAME, work_dir / "last_checkpoint"]
    for start in starts(work_dir):
        files += [start / SCALARS, *start.glob("*.log")]
    times = [0.0]
    for file in files:
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime)
    return max(times)


def _validation(training: Training, log: Log, done: bool) -> Measured | None:
    """The last validation that the log has."""
    if not log.validations:
        return None
    last, schedule = log.validations[-1], training.schedule
    values = {key: value for key, value in last.values.items() if key != "step"}
    final = done and last.step == schedule.length
    return Measured(values, final, f"validation at {schedule.unit} {last.step}")


def _changes(
    training: Training, origins: Sequence[Mapping[str, Any]], problems: list[str]
) -> list[str]:
    """List what differs between what a training's starts have trained and its config."""
    contents = read_beside_logs(training.work_dir, provenance.CONFIG_FILE_NAME, problems)
    changes = [provenance.differences(content, training.content) for content in contents]
    hashes = {clean(origin.get("config_hash")) for origin in origins} - {""}
    if not contents and hashes - {provenance.config_hash(training.content)}:
        listed = ", ".join(sorted(hashes))
        return [f"its hash was {listed}; there is no {provenance.CONFIG_FILE_NAME} to say more"]
    return list(dict.fromkeys(change for found in changes for change in found))


def list_strangers(directory: Path, known: set[str]) -> list[Path]:
    """List what lies in a directory under other names than the known ones."""
    paths = list_directory(directory, [])
    return [path for path in paths if path.name not in known and not path.name.startswith(".")]
