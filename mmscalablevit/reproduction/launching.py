"""The commands that make what tables lack, one after the other."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.plan import Training
from mmscalablevit.reproduction.runs import Found, State, examine
from mmscalablevit.reproduction.tables import shown


@dataclass(frozen=True)
class Start:
    """How runs are started."""

    tools: Path  # where dist_train.sh and the others lie
    gpus: int | None = None  # of each run; None for as many as published
    partition: str | None = None  # Slurm's; None for the machine that the commands run on

    def words(self, training: Training, gpus: int, test: str = "") -> list[str]:
        """The beginning of the command that trains, or runs a test of the final checkpoint."""
        kind = "test" if test else "train"
        files = [shown(training.config), *([shown(training.final)] if test else [])]
        work_dir = shown(training.work_dir / test)
        if self.partition is None:
            script = shown(self.tools / f"dist_{kind}.sh")
            return ["bash", script, *files, str(gpus), "--work-dir", work_dir]
        script = shown(self.tools / f"slurm_{kind}.sh")
        job = "-".join(filter(None, (training.name, test)))
        place = ["--work-dir", work_dir] if test else [work_dir]
        return ["env", f"GPUS={gpus}", "bash", script, self.partition, job, *files, *place]


@dataclass(frozen=True)
class Command:
    """A training or a test."""

    title: str
    words: Sequence[str]
    gpus: int
    needs: Path | None  # a checkpoint that must be there when it is run

    def __str__(self) -> str:
        return f"# {self.title}, on {self.gpus} GPU(s)\n{shlex.join(self.words)}"


def prepare(trainings: Sequence[Training], start: Start) -> tuple[list[Command], list[str]]:
    """List the commands that make what trainings in :func:`.plan.plan`'s order lack.

    Returns:
        The commands; and what is not started and why, and what differs from the published settings.

    Raises:
        UsageError: The path of a checkpoint cannot be passed on.
    """
    found = [examine(training) for training in trainings]
    wanted = _wanted(found)
    commands: list[Command] = []
    notes: list[str] = []
    coming = {run.training.final for run in found if run.state is State.DONE}
    for run in found:
        training, done, remarks = run.training, run.state is State.DONE, list[str]()
        if training.config not in wanted:
            continue
        gpus = start.gpus or training.schedule.gpus
        weights = _weights(training, coming)
        if run.state is State.RUNNING:
            notes.append(f"{training.name}: running: {run.holder}")
            continue
        if not done and training.needs and weights is None:
            needed = training.needs.name
            notes.append(f"{training.name}: waits for {needed}; launch again when that is finished")
            continue
        if not done:
            commands.append(_train(training, start, gpus, weights))
            coming.add(training.final)
            remarks += _peculiarities(run, gpus, weights)
        elif not run.lacking:
            remarks.append("finished")
        for test in run.lacking:
            words = [*start.words(training, gpus, test.name), *test.arguments]
            title = f"{training.name}: test {test.name}"
            commands.append(Command(title, words, gpus, training.final))
        if run.changes:
            remarks.append(f"its config has changed since: {'; '.join(run.changes)}")
        if remarks:
            notes.append(f"{training.name}: {'; '.join(remarks)}")
    return commands, notes


def _wanted(found: Sequence[Found]) -> set[Path]:
    """Choose what rows, and runs behind them that are still to be made, cannot do without."""
    wanted = {run.training.config for run in found if run.training.labels}
    for run in reversed(found):  # what needs another comes after it
        training, lacks = run.training, run.state in (State.MISSING, State.INTERRUPTED)
        released = training.released is not None and training.released.is_file()
        if training.needs and training.config in wanted and lacks and not released:
            wanted.add(training.needs.config)
    return wanted


def _weights(training: Training, coming: set[Path]) -> Path | None:
    """Choose the weights to start from: those of the run that it needs, or the released ones.

    ``coming`` are checkpoints that are there or that a command before will have made.
    """
    if training.needs and training.needs.final in coming:
        return training.needs.final
    return training.released if training.released and training.released.is_file() else None


def _peculiarities(run: Found, gpus: int, weights: Path | None) -> list[str]:
    """Say what is special about a training that is to be started."""
    schedule, remarks = run.training.schedule, []
    if gpus != schedule.gpus:
        share = gpus / schedule.gpus
        remarks.append(
            f"{gpus} GPU(s) x {schedule.batch_size} images instead of {schedule.gpus} x "
            f"{schedule.batch_size}: the learning rate is scaled by {share:g}"
        )
        if not schedule.by_epoch:
            remarks.append(f"its {schedule.length} iterations see {share:g} times as many images")
    if weights and weights == run.training.released:
        remarks.append(f"starts from {weights}")
    if run.state is State.INTERRUPTED:
        remarks.append("was interrupted, goes on from its newest checkpoint")
    return remarks


def _train(training: Training, start: Start, gpus: int, weights: Path | None) -> Command:
    words = [*start.words(training, gpus), "--resume", "auto"]
    if gpus != training.schedule.gpus:
        words.append("--auto-scale-lr")
    if weights:
        path = shown(weights)
        if any(character in " ,()[]\"'" for character in path):
            raise UsageError(
                f"{path!r}: the path of weights that another run starts from must be without "
                "blanks, commas, brackets and quotes, for --cfg-options; choose another --work-dirs"
            )
        words += ["--cfg-options", f"{training.weights_key}={path}"]
    rows = ", ".join(training.labels) or "pretraining for other runs"
    return Command(f"{training.name}: {rows}", words, gpus, weights)
