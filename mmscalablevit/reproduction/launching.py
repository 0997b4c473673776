"""Which of a table's runs can be started now, and the script that does so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmscalablevit.cli.provenance import config_content, differences
from mmscalablevit.reproduction.changes import trained_contents
from mmscalablevit.reproduction.logs import read_curve
from mmscalablevit.reproduction.plan import Training
from mmscalablevit.reproduction.published import Table, Test
from mmscalablevit.reproduction.script import Part, render
from mmscalablevit.reproduction.state import State, Status, examine, lacking_tests


@dataclass(frozen=True)
class Options:
    """How runs are started.

    Attributes:
        tools: Directory of the tools.
        gpus: GPUs of each run; None for as many as published.
        partition: Slurm's partition; None to train on the machine that the script runs on.
    """

    tools: Path
    gpus: int | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Launch:
    """What is to be started.

    Attributes:
        script: A bash script that does it; None where there is nothing to do.
        notes: What is not started and why, and what differs from the published settings.
        gpus: The largest number of GPUs that one of its runs takes.
    """

    script: str | None
    notes: tuple[str, ...]
    gpus: int


@dataclass
class _Entry:
    """A training in its present state.

    Attributes:
        training: The training.
        status: How far it is.
        tests: Tests to run when it is done.
        needs: What it starts from, or None.
        dependents: What starts from it.
    """

    training: Training
    status: Status
    tests: tuple[Test, ...]
    needs: _Entry | None
    dependents: list[_Entry] = field(default_factory=list)

    @property
    def trains(self) -> bool:
        """Whether it is still to be trained."""
        return self.status.state in (State.MISSING, State.INTERRUPTED)

    @property
    def users(self) -> list[_Entry]:
        """What is to be trained from its weights."""
        return [entry for entry in self.dependents if entry.trains and entry.wanted]

    @property
    def wanted(self) -> bool:
        """Whether a row, or a run behind one, cannot do without it."""
        return bool(self.training.labels) or not all(entry.has_released for entry in self.users)

    @property
    def has_released(self) -> bool:
        """Whether the weights that its config names are there."""
        return self.training.released is not None and self.training.released.is_file()

    def obstacle(self, slurm: bool) -> str | None:
        """Say why nothing can be done about it now; None if something can."""
        if self.status.active and not (slurm and self.status.job):
            return f"{self.status.state.value}: {self.status.remark}"
        if self.needs and self.trains and not self.has_released and self.needs.obstacle(slurm):
            return f"waits for {self.needs.training.name}; launch again when that is finished"
        return None


def prepare(
    tables: Sequence[Table],
    trainings: Sequence[Training],
    options: Options,
    jobs: Mapping[str, str] | None,
) -> Launch:
    """Write the script for what tables lack.

    Args:
        tables: The tables.
        trainings: Their trainings, from :func:`.plan.plan`.
        options: How they are started.
        jobs: Slurm's jobs, from :func:`.state.slurm_jobs`.

    Raises:
        UsageError: The path of a checkpoint cannot be passed on.
    """
    notes: list[str] = []
    parts: list[Part] = []
    for entry in _examine(trainings, jobs):
        name, status = entry.training.name, entry.status
        gpus = options.gpus or entry.training.schedule.gpus
        obstacle = entry.obstacle(slurm=options.partition is not None)
        if not entry.wanted:
            continue
        if obstacle:
            notes.append(f"{name}: {obstacle}")
        elif status.state is State.DONE and not entry.tests:
            notes.append(f"{name}: {'; '.join(['finished', *_changes(entry.training)])}")
        else:
            if status.active:
                notes.append(f"{name}: {status.state.value}, {status.remark}")
            if entry.trains:
                notes += [f"{name}: {remark}" for remark in _remarks(entry, gpus)]
            parts.append(_part(entry, gpus))
    if not any(part.trains or part.tests for part in parts):
        return Launch(None, tuple(notes), 0)
    script = render(tables, parts, notes, options.tools, options.partition)
    return Launch(script, tuple(notes), max(part.gpus for part in parts))


def _examine(trainings: Sequence[Training], jobs: Mapping[str, str] | None) -> list[_Entry]:
    """Find out how far trainings are."""
    entries: dict[Path, _Entry] = {}
    for training in trainings:
        status = examine(training, jobs)
        tests: list[Test] = []
        if training.labels:  # what only others need has its tests in another table
            done = status.state is State.DONE
            tests = lacking_tests(training, read_curve(training.work_dir), done)
        needs = entries[training.needs.run.config] if training.needs else None
        entry = _Entry(training, status, tuple(tests), needs)
        if needs:
            needs.dependents.append(entry)
        entries[training.run.config] = entry
    return list(entries.values())


def _part(entry: _Entry, gpus: int) -> Part:
    training = entry.training
    released = {user.training.released for user in entry.users}
    spared_by = () if training.labels else tuple(sorted(path for path in released if path))
    return Part(
        training=training,
        gpus=gpus,
        trains=entry.trains,
        tests=entry.tests,
        job=entry.status.job if entry.status.active else None,
        spared_by=() if None in released else spared_by,
    )


def _remarks(entry: _Entry, gpus: int) -> list[str]:
    """Say what is special about a training that is to be started."""
    training, schedule, remarks = entry.training, entry.training.schedule, []
    if gpus != schedule.gpus:
        share = gpus / schedule.gpus
        remark = (
            f"{gpus} GPU(s) x {schedule.batch_size} images instead of {schedule.gpus} x "
            f"{schedule.batch_size}: the learning rate is scaled by {share:g}"
        )
        if not schedule.by_epoch:
            remark += f"; its {schedule.length} iterations see {share:g} times as many images"
        remarks.append(remark)
    if entry.needs and entry.needs.trains and not entry.needs.wanted:
        remarks.append(f"starts from {training.released}")
    if entry.status.state is State.INTERRUPTED:
        changes = _changes(training)
        remarks.append("; ".join(["was interrupted, goes on from its newest checkpoint", *changes]))
    return remarks


def _changes(training: Training) -> list[str]:
    """Say what has changed in a run's config since it was last started."""
    contents, _ = trained_contents(training.work_dir)
    now = config_content(training.cfg.to_dict())
    changes = differences(contents[-1], now) if contents else []
    return [f"its config has changed since: {'; '.join(changes)}"] if changes else []
