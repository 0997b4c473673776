"""What runs leave behind, read with the expectation that some of it is damaged or foreign.

What cannot be read is passed over: each function adds a message to the list ``problems``.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscalablevit.errors import listed
from mmscalablevit.runner.resume import own_checkpoints

# MMEngine names the directory of each start of a run by the time.
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")

SCALARS = Path("vis_data") / "scalars.json"

_LONGEST = 300  # characters of a text that a foreign file may bring into messages and tables
_MOST_LINES = 5  # that a message lists


@dataclass(frozen=True)
class Validation:
    """What a validation has logged."""

    iteration: int  # the last one before it; 0 if its start has none
    step: int  # the epoch, or the iteration where epochs don't count
    values: dict[str, float]  # infinite ones and NaN among them


@dataclass
class Log:
    """The log of a run over all its starts, without what a later start has undone."""

    iteration: int = 0  # the last one
    epoch: int | None = None  # of that, where epochs count
    validations: list[Validation] = field(default_factory=list)


def clean(value: object, longest: int = _LONGEST) -> str:
    """Return a value from a foreign file as one line of text of limited length."""
    text = str(value) if isinstance(value, (str, int, float)) else ""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def whole_number(value: object) -> int | None:
    """Return a JSON value as a count from 0 on, or None if it is none."""
    return value if type(value) is int and 0 <= value < 2**62 else None


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """Those of its values that are numbers which a float can hold."""
    return {
        key: float(value)
        for key, value in content.items()
        if type(value) is float or (type(value) is int and abs(value) < 2**1000)
    }


def list_directory(directory: Path, problems: list[str]) -> list[Path]:
    """List what lies in a directory that may not be there."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(f"{directory} cannot be read: {error.strerror}")
    return []


def starts(work_dir: Path) -> list[Path]:
    """List the directories of a run's starts in their order."""
    paths = list_directory(work_dir, [])
    return [path for path in paths if _TIMESTAMP.fullmatch(path.name) and path.is_dir()]


def read_log(work_dir: Path, problems: list[str]) -> Log:
    """Read the ``scalars.json`` of all starts of a run.

    What a start has logged after the point that a later one went back to is dropped.
    """
    log = Log()
    list_directory(work_dir, problems)
    for start in starts(work_dir):
        iteration = 0  # of this start
        for step, content in _read_scalars(start / SCALARS, problems):
            values = _numbers(content)
            if "lr" in values or "iter" in values:
                if iteration == 0:
                    log.validations = [old for old in log.validations if old.iteration < step]
                iteration = log.iteration = step
                log.epoch = whole_number(content.get("epoch"))
            else:
                log.validations = [old for old in log.validations if old.step != step]
                log.validations.append(Validation(iteration, step, values))
    return log


def _read_scalars(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the records of one start with their steps; what is damaged is told at the end."""
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return  # of a test, or a start that failed at once
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return
    damaged = []
    for number, line in enumerate(lines, 1):
        content = _parse_object(line) or {}
        step = whole_number(content.get("step"))
        if step is not None:
            yield step, content
        elif line.strip():
            damaged.append(number)
    if damaged == [len(lines)]:
        problems.append(f"{path}: the last line is cut short")
    elif damaged:
        problems.append(f"{path}: damaged lines: {listed(damaged, _MOST_LINES)}")


def _parse_object(text: str | bytes) -> dict[str, Any] | None:
    """Read a JSON object; None if the text is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """Read a JSON file with one object; None if there is none."""
    try:
        content = _parse_object(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return None
    if content is None:
        problems.append(f"{path} is damaged: it holds no JSON object")
    return content


def read_beside_logs(work_dir: Path, name: str, problems: list[str]) -> list[dict[str, Any]]:
    """Read the JSON object of a name of all starts of a run that have it, in their order."""
    found = (read_object(start / name, problems) for start in starts(work_dir))
    return [content for content in found if content is not None]


def read_metrics(path: Path, final: Path, problems: list[str]) -> dict[str, float] | None:
    """Read a test's ``metrics.json``; None if it has none of the checkpoint ``final`` as it is."""
    content = read_object(path, problems)
    if content is None:
        return None
    metrics, tested = content.get("metrics"), str(content.get("checkpoint"))
    if not isinstance(metrics, dict):
        problems.append(f"{path} is damaged: it holds no metrics")
    elif Path(tested).name != final.name:
        problems.append(f"{path} is of {clean(tested)}, not of {final.name}: passed over")
    elif final.exists() and path.stat().st_mtime < final.stat().st_mtime:
        problems.append(f"{path} is older than {final}: passed over")
    else:
        return _numbers(metrics)
    return None


def newest_checkpoint(work_dir: Path, problems: list[str]) -> Path | None:
    """Find the checkpoint that training would go on from: a run's newest that is whole."""
    for path in own_checkpoints(work_dir):
        if is_whole(path):
            return path
        problems.append(f"{path} is not a whole checkpoint")
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there to its end, where torch writes the list of its parts."""
    try:
        return checkpoint.is_file() and zipfile.is_zipfile(checkpoint)
    except (OSError, zipfile.BadZipFile):
        return False
