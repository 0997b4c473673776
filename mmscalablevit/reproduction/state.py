"""How far a run is: missing, queued, running, interrupted or done."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.logs import (
    SCALARS,
    Curve,
    DamagedFileError,
    Record,
    is_whole,
    newest_checkpoint,
    read_metrics,
    starts,
)
from mmscalablevit.reproduction.plan import Schedule, Training
from mmscalablevit.reproduction.published import Metric, Test
from mmscalablevit.runner.locking import LOCK_NAME, current_holder, last_holder
from mmscalablevit.runner.resume import own_checkpoints

# A file with the id of the Slurm job that trains, or tests, in its directory.
JOB_NAME = "slurm_job"

# A run on another machine, whose locks may not reach this one, counts as running for as long as
# this after its last sign of life. Logs grow every few minutes; a validation may take longer.
_SIGN_OF_LIFE = 30 * 60  # seconds

# Run by `launch` where a training was killed between its last checkpoint and its last validation.
FINAL_VALIDATION = "final-validation"


class State(Enum):
    """How far a run is."""

    MISSING = "missing"
    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"


@dataclass(frozen=True)
class Status:
    """How far a run is, and what is known of it.

    Attributes:
        state: The state.
        remark: What is to be added to it, such as the process that runs; may be empty.
        job: Id of the Slurm job that is queued or running.
    """

    state: State
    remark: str = ""
    job: str | None = None

    @property
    def active(self) -> bool:
        """Whether the run is under way or will be without anybody's doing."""
        return self.state in (State.QUEUED, State.RUNNING)


def slurm_jobs() -> dict[str, str] | None:
    """Ask Slurm which jobs there are.

    Returns:
        The state of each job that is not finished (``PENDING``, ``RUNNING``, ...) by its id; None
        on a machine without Slurm.

    Raises:
        UsageError: Slurm does not answer.
    """
    if shutil.which("squeue") is None:
        return None
    # All jobs: asked for one that has left the queue, squeue fails.
    command = ["squeue", "--noheader", "--format=%A %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"squeue cannot be asked which jobs are running: {error}") from error
    if done.returncode != 0:
        raise UsageError(f"squeue cannot say which jobs are running: {done.stderr.strip()}")
    pairs = (line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line.strip())
    return {job: state.strip() for job, state in pairs}


def examine(training: Training, jobs: Mapping[str, str] | None) -> Status:
    """Find out how far a training is.

    Args:
        training: The training.
        jobs: Slurm's jobs, from :func:`slurm_jobs`.
    """
    work_dir = training.work_dir
    if holder := current_holder(work_dir):
        return Status(State.RUNNING, str(holder), holder.slurm_job)
    if is_whole(training.final) and training.final in own_checkpoints(work_dir):
        return Status(State.DONE)
    begun = bool(starts(work_dir)) or newest_checkpoint(work_dir)[0] is not None
    queued = _queued(work_dir, begun, jobs)
    if queued:
        return queued
    holder = last_holder(work_dir)
    if begun and holder and holder.host != socket.gethostname():
        # Of a job that is no longer there, Slurm knows that it has ended.
        ended = holder.slurm_job is not None and jobs is not None and holder.slurm_job not in jobs
        quiet = time.time() - max(_signs_of_life(work_dir), default=0.0)
        if not ended and quiet < _SIGN_OF_LIFE:
            remark = f"{holder} gave a sign of life {quiet / 60:.0f} min ago"
            return Status(State.RUNNING, remark, holder.slurm_job)
    return Status(State.INTERRUPTED if begun else State.MISSING)


def _queued(directory: Path, begun: bool, jobs: Mapping[str, str] | None) -> Status | None:
    """Find the Slurm job that was submitted for a directory, if it has not ended."""
    job = read_job(directory)
    if job is None:
        return None
    if jobs is None:
        remark = (
            f"as Slurm job {job}, unless that has ended: there is no squeue here to ask; "
            f"if it has, remove {directory / JOB_NAME}"
        )
        return Status(State.QUEUED, remark, job)
    if job not in jobs:
        return None
    running = begun and jobs[job] in ("RUNNING", "COMPLETING")
    return Status(
        State.RUNNING if running else State.QUEUED, f"Slurm job {job}, {jobs[job].lower()}", job
    )


def read_job(directory: Path) -> str | None:
    """Return the id of the Slurm job that was submitted for a directory, or None."""
    try:
        job = (directory / JOB_NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return job if job.isdigit() else None


def _signs_of_life(work_dir: Path) -> Iterator[float]:
    """The times at which a run has last written what it writes again and again."""
    files = [work_dir / LOCK_NAME, work_dir / "last_checkpoint"]
    for start in starts(work_dir):
        files += [start / SCALARS, *start.glob("*.log")]
    for file in files:
        with contextlib.suppress(OSError):
            yield file.stat().st_mtime


def final_validation(training: Training, curve: Curve) -> Record | None:
    """Return the validation after a training's last epoch or iteration, if the log has it."""
    last = curve.val[-1] if curve.val else None
    return last if last and last.step == training.schedule.length else None


def progress(schedule: Schedule, curve: Curve) -> str:
    """Say how far a curve has come, such as ``epoch 37/300``."""
    if not curve.train:
        return f"before the first record of {schedule.length} {schedule.unit}s"
    last = curve.train[-1]
    at = last.epoch if schedule.by_epoch and last.epoch is not None else last.iteration
    return f"{schedule.unit} {at}/{schedule.length}"


def has_all(values: Mapping[str, float], metrics: Mapping[str, Metric]) -> bool:
    """Whether all metrics of a run or test are among logged values."""
    return all(metric.key in values for metric in metrics.values())


def lacking_tests(training: Training, curve: Curve, done: bool) -> list[Test]:
    """List the tests of a training that are still to be run.

    A training that was killed after its last checkpoint and before the end of its last validation
    lacks the figures that the validation would have logged: a test that computes them is added.

    Args:
        training: The training.
        curve: Its log.
        done: Whether its final checkpoint is there.
    """
    lacking = [test for test in training.run.tests if _lacks(training, test, done)]
    if done and training.run.metrics:
        validation = final_validation(training, curve)
        test = validation_test(training)
        if not (validation and has_all(validation.values, test.metrics)) and _lacks(
            training, test, done
        ):
            lacking.insert(0, test)
    return lacking


def validation_test(training: Training) -> Test:
    """Return the test that stands in for a lost final validation."""
    return Test(FINAL_VALIDATION, (), training.run.metrics)


def _lacks(training: Training, test: Test, done: bool) -> bool:
    if not done:
        return True
    path = training.test_dir(test) / "metrics.json"
    try:
        values = read_metrics(path, training.final.name)
        # after a new training of the same length the old result is no longer its
        outdated = os.path.getmtime(path) < os.path.getmtime(training.final)
    except (DamagedFileError, OSError):
        return True
    return values is None or outdated
