"""What runs leave behind, read with the expectation that some of it is damaged or foreign.

What cannot be read is passed over: each function adds a message to the list ``problems``.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscalablevit.errors import listed
from mmscalablevit.runner.resume import own_checkpoints

# MMEngine names the directory of each start of a run by the time.
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")

SCALARS = Path("vis_data") / "scalars.json"

_LARGEST_TEXT = 16 * 2**20  # bytes of a file that is read as one JSON value
_LONGEST = 300  # characters of a text that a foreign file may bring into messages and tables
_MOST_LINES = 5  # that a message lists


@dataclass(frozen=True)
class Validation:
    """What a validation has logged.

    Attributes:
        iteration: The last one that the log has before it; 0 if its start has none.
        step: What MMEngine wrote as its step: the epoch, or the iteration where epochs don't count.
        values: Its numbers by name, infinite ones and NaN among them.
    """

    iteration: int
    step: int
    values: dict[str, float]


@dataclass
class Log:
    """The log of a run over all its starts, without what a later start has undone.

    Attributes:
        iteration: The last one that it has; 0 if none.
        epoch: The epoch of that, from 1; None where the log does not count epochs.
        validations: Its validations.
    """

    iteration: int = 0
    epoch: int | None = None
    validations: list[Validation] = field(default_factory=list)


def clean(value: object, longest: int = _LONGEST) -> str:
    """Return a value from a foreign file as one line of text of limited length."""
    if value is None or not isinstance(value, (str, int, float)):
        return ""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def starts(work_dir: Path) -> list[Path]:
    """List the directories of a run's starts in their order."""
    try:
        return sorted(
            path for path in work_dir.iterdir() if _TIMESTAMP.fullmatch(path.name) and path.is_dir()
        )
    except OSError:
        return []


def read_log(work_dir: Path, problems: list[str]) -> Log:
    """Read the ``scalars.json`` of all starts of a run.

    What a start has logged after the point that a later one went back to is dropped.
    """
    log = Log()
    try:
        os.listdir(work_dir)
    except FileNotFoundError:
        return log
    except OSError as error:
        problems.append(f"{work_dir} cannot be read: {error.strerror}")
    for start in starts(work_dir):
        iteration = 0  # of this start
        for step, content in _read_scalars(start / SCALARS, problems):
            values = {key: float(value) for key, value in content.items() if _is_number(value)}
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
        content = _parse_object(line)
        step = whole_number(content.get("step")) if content else None
        if content is not None and step is not None:
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


def _is_number(value: object) -> bool:
    """Whether a JSON value is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**1000


def whole_number(value: object) -> int | None:
    """Return a JSON value as a count from 0 on, or None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value < 2**62 or not math.isfinite(value) or value != int(value):
        return None
    return int(value)


def read_object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """Read a JSON file with one object; None if there is none."""
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            problems.append(f"{path} is too large to be what its name says")
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return None
    content = _parse_object(text)
    if content is None:
        problems.append(f"{path} is damaged: it holds no JSON object")
    return content


def read_beside_logs(work_dir: Path, name: str, problems: list[str]) -> list[dict[str, Any]]:
    """Read the JSON object of a name of all starts of a run that have it, in their order."""
    found = (read_object(start / name, problems) for start in starts(work_dir))
    return [content for content in found if content is not None]


def read_metrics(path: Path, final: Path, problems: list[str]) -> dict[str, float] | None:
    """Read the metrics of a test by name from its ``metrics.json``.

    Returns:
        The metrics; None if there are none of the checkpoint ``final`` as it is now.
    """
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
        return {key: float(value) for key, value in metrics.items() if _is_number(value)}
    return None


def newest_checkpoint(work_dir: Path, problems: list[str]) -> Path | None:
    """Find a run's newest checkpoint that is whole, without reading what is in it.

    Those count that training would go on from: of an epoch or iteration, or within an epoch
    (``epoch_3_iter_8500.pth``), and not of an earlier run in the same directory.
    """
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
