"""The commands that make what tables lack, one after the other."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.plan import Training
from mmscalablevit.reproduction.published import Test
from mmscalablevit.reproduction.runs import Found, State, examine
from mmscalablevit.reproduction.tables import shown


@dataclass(frozen=True)
class Start:
    """How runs are started.

    Attributes:
        tools: Directory of the tools.
        gpus: GPUs of each run; None for as many as published.
        partition: Slurm's partition; None to train on the machine that the commands run on.
    """

    tools: Path
    gpus: int | None = None
    partition: str | None = None


@dataclass(frozen=True)
class Command:
    """A training or a test.

    Attributes:
        title: What it does.
        words: Its words.
        gpus: GPUs that it takes.
        needs: A checkpoint that must be there when it is run, or None.
    """

    title: str
    words: Sequence[str]
    gpus: int
    needs: Path | None


def prepare(trainings: Sequence[Training], start: Start) -> tuple[list[Command], list[str]]:
    """List the commands that make what is lacking, each after those that it needs.

    Args:
        trainings: Trainings in the order of :func:`.plan.plan`.
        start: How they are started.

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
        training, remarks = run.training, []
        if training.config not in wanted:
            continue
        gpus = start.gpus or training.schedule.gpus
        weights = _weights(training, coming)
        obstacle = ""
        if run.state is State.RUNNING:
            obstacle = f"running: {run.holder}"
        elif run.state is not State.DONE and training.needs and weights is None:
            obstacle = f"waits for {training.needs.name}; launch again when that is finished"
        if obstacle:
            notes.append(f"{training.name}: {obstacle}")
            continue
        if run.state is not State.DONE:
            commands.append(_train(training, start, gpus, weights))
            coming.add(training.final)
            remarks += _peculiarities(run, gpus, weights)
        elif not run.lacking:
            remarks.append("finished")
        commands += [_test(training, start, gpus, test) for test in run.lacking]
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
    """Choose the weights to start from.

    Args:
        training: The training.
        coming: Checkpoints that are there or that a command before will have made.

    Returns:
        The final checkpoint of the run that it needs, or else the released weights.
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
    words = [*_words(training.name, start, gpus, training), "--resume", "auto"]
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


def _test(training: Training, start: Start, gpus: int, test: Test) -> Command:
    words = _words(f"{training.name}-{test.name}", start, gpus, training, test)
    title = f"{training.name}: test {test.name}"
    return Command(title, [*words, *test.arguments], gpus, training.final)


def _words(
    job: str, start: Start, gpus: int, training: Training, test: Test | None = None
) -> list[str]:
    """The words of a command up to the options that are the same in all ways of starting."""
    kind, files = ("test", [training.final]) if test else ("train", [])
    named = [shown(file) for file in (training.config, *files)]
    directory = ["--work-dir", shown(training.work_dir / test.name if test else training.work_dir)]
    if start.partition is None:
        return ["bash", shown(start.tools / f"dist_{kind}.sh"), *named, str(gpus), *directory]
    script = shown(start.tools / f"slurm_{kind}.sh")
    if test is None:
        directory = directory[1:]  # which it takes without the option
    return ["env", f"GPUS={gpus}", "bash", script, start.partition, job, *named, *directory]


def render(commands: Sequence[Command]) -> str:
    """Write commands as lines for a shell, each below what it does."""
    return "".join(
        f"# {command.title}, on {command.gpus} GPU(s)\n{shlex.join(command.words)}\n"
        for command in commands
    )
