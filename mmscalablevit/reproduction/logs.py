"""What runs leave behind, read with the expectation that some of it is damaged or foreign."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscalablevit.runner.resume import own_checkpoints

# MMEngine names the directory of each start of a run by the time.
_TIMESTAMP = re.compile(r"\d{8}_\d{6}")

SCALARS = Path("vis_data") / "scalars.json"
DUMPED_CONFIG = Path("vis_data") / "config.py"

_LARGEST_TEXT = 16 * 2**20  # bytes of a file that is read as one JSON value or config
_LONGEST_NAME = 200  # characters of a foreign file's text in a message


class DamagedFileError(ValueError):
    """A file of a run is not what its name promises; the message names it."""


@dataclass(frozen=True)
class Record:
    """A line of ``scalars.json``.

    Attributes:
        iteration: Iteration of the training's last record up to here; 0 if a start has none yet.
        epoch: Epoch that it was written in, from 1; None where the log does not count epochs.
        step: What MMEngine wrote as its step: the iteration, or for a validation the epoch.
        values: Its finite and infinite numbers by name.
    """

    iteration: int
    epoch: int | None
    step: int
    values: dict[str, float]


@dataclass
class Curve:
    """The records of a run over all its starts, without what a later start has undone.

    Attributes:
        train: Losses and learning rates.
        val: Validations.
        resumed: Iterations at which the run was started again.
        problems: What could not be read, one message each.
    """

    train: list[Record] = field(default_factory=list)
    val: list[Record] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def append(self, later: Curve) -> None:
        """Add a later start of the run; what lies after the point it went back to is dropped."""
        if later.train and (self.train or self.val):
            begin = later.train[0].iteration
            self.resumed.append(begin)
            self.train = [record for record in self.train if record.iteration < begin]
            self.val = [record for record in self.val if record.iteration < begin]
        repeated = {record.step for record in later.val}
        self.val = [record for record in self.val if record.step not in repeated] + later.val
        self.train += later.train
        self.problems += later.problems


def starts(work_dir: Path) -> list[Path]:
    """List the directories of a run's starts in their order."""
    try:
        return sorted(
            path for path in work_dir.iterdir() if _TIMESTAMP.fullmatch(path.name) and path.is_dir()
        )
    except OSError:
        return []


def read_curve(work_dir: Path) -> Curve:
    """Join the ``scalars.json`` of all starts of a run to one curve."""
    curve = Curve()
    try:
        os.listdir(work_dir)
    except FileNotFoundError:
        return curve
    except OSError as error:
        curve.problems.append(f"{work_dir} cannot be read: {error.strerror}")
    for start in starts(work_dir):
        curve.append(_read_scalars(start / SCALARS))
    return curve


def _read_scalars(path: Path) -> Curve:
    """Read the file of one start."""
    curve = Curve()
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return curve  # of a test, or a start that failed at once
    except OSError as error:
        curve.problems.append(f"{path} cannot be read: {error.strerror}")
        return curve
    damaged = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        content = parse_object(line)
        step = whole_number(content.get("step")) if content else None
        if content is None or step is None:
            damaged.append(number)
            continue
        values = {key: float(value) for key, value in content.items() if is_number(value)}
        if "lr" in values or "iter" in values:
            curve.train.append(Record(step, whole_number(content.get("epoch")), step, values))
        else:
            last = curve.train[-1] if curve.train else Record(0, None, 0, {})
            curve.val.append(Record(last.iteration, last.epoch, step, values))
    if damaged:
        cut = damaged == [len(lines)]
        where = "the last line is cut short" if cut else f"damaged lines: {_list(damaged)}"
        curve.problems.append(f"{path}: {where}")
    return curve


def _list(numbers: list[int], most: int = 5) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


def parse_object(text: str | bytes) -> dict[str, Any] | None:
    """Read a JSON object; None if the text is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def is_number(value: object) -> bool:
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


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON file with one object.

    Returns:
        The object; None if there is no such file.

    Raises:
        DamagedFileError: The file cannot be read or holds something else.
    """
    text = _read_text(path)
    if text is None:
        return None
    content = parse_object(text)
    if content is None:
        raise DamagedFileError(f"{path} is damaged: it holds no JSON object")
    return content


def _read_text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise DamagedFileError(f"{path} is too large to be what its name says")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read: {error.strerror}") from None


def read_metrics(path: Path, checkpoint: str) -> dict[str, float] | None:
    """Read the ``metrics.json`` of a test.

    Args:
        path: The file.
        checkpoint: Name of the file that was to be tested.

    Returns:
        Metrics by name; None if there is no such file.

    Raises:
        DamagedFileError: It cannot be read, or is of another checkpoint.
    """
    content = read_object(path)
    if content is None:
        return None
    metrics = content.get("metrics")
    if not isinstance(metrics, dict):
        raise DamagedFileError(f"{path} is damaged: it holds no metrics")
    tested = str(content.get("checkpoint"))
    if Path(tested).name != checkpoint:
        of = tested[:_LONGEST_NAME]
        raise DamagedFileError(f"{path} is of {of}, not of {checkpoint}: passed over")
    return {key: float(value) for key, value in metrics.items() if is_number(value)}


def newest_checkpoint(work_dir: Path) -> tuple[Path | None, list[str]]:
    """Find a run's newest checkpoint that is whole, without reading what is in it.

    Those count that training would go on from: of an epoch or iteration, or within an epoch
    (``epoch_3_iter_8500.pth``), and not of an earlier run in the same directory.

    Returns:
        Its path or None, and a message for each newer file that is not whole.
    """
    problems: list[str] = []
    for path in own_checkpoints(work_dir):
        if is_whole(path):
            return path, problems
        problems.append(f"{path} is not a whole checkpoint")
    return None, problems


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is there to its end, where torch writes the list of its parts."""
    try:
        return checkpoint.is_file() and zipfile.is_zipfile(checkpoint)
    except (OSError, zipfile.BadZipFile):
        return False


def read_config(path: Path) -> dict[str, Any] | None:
    """Read a config that MMEngine has dumped; nothing in it is executed.

    Returns:
        Its entries; None if there is no such file.

    Raises:
        DamagedFileError: It is no dumped config.
    """
    text = _read_text(path)
    if text is None:
        return None
    try:
        return parse_config(text)
    except ValueError:
        raise DamagedFileError(f"{path} is damaged: it is no config that was dumped") from None


def parse_config(text: str) -> dict[str, Any]:
    """Evaluate a dumped config: assignments of literals and calls of ``dict``.

    Raises:
        ValueError: There is something else in it.
    """
    entries = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    entries[name] = _evaluate(value)
                case _:
                    raise ValueError(f"line {statement.lineno} is no assignment")
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"no config that was dumped: {error}") from error
    return entries


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {str(keyword.arg): _evaluate(keyword.value) for keyword in keywords}
        case ast.Call(func=ast.Name(id="dict"), args=[ast.Dict() as entries], keywords=[]):
            return _evaluate(entries)
        case ast.Dict(keys=keys, values=values):
            return {
                _evaluate(key): _evaluate(value)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.List(elts=elements):
            return [_evaluate(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_evaluate(element) for element in elements)
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
    return ast.literal_eval(node)
