"""What the user is told: errors without a traceback, findings, names that may have been meant.

Nothing but the standard library: the environment's report must work where nothing else does.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What reading, building or running something that a user's config names can raise. A config is a
# program: nearly anything.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class UsageError(Exception):
    """Something the user asked for cannot be done; the message says what and how to mend it."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: ``warn`` restricts what can be done, ``fail`` has to be mended.
        found: What was found, and what it means if it is a problem.
        remedy: The command that mends it; empty where there is nothing to mend.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def listed(names: Iterable[object], most: int) -> str:
    """The first of several names in a row, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def listed_below(names: Iterable[object], most: int) -> str:
    """The same on indented lines, each with a line break before it."""
    texts = [str(name) for name in names]
    if len(texts) > most:
        texts = [*texts[:most], f"... and {len(texts) - most} more"]
    return "".join(f"\n  {text}" for text in texts)


def first_line(error: BaseException) -> str:
    """An error as one line: its kind, and the first line of what it says."""
    text = str(error).strip().split("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def module_line(error: BaseException) -> int | None:
    """The line of a file's own code, outside functions, that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].lineno if frames and frames[-1].name == "<module>" else None


def near_names(path: Path, candidates: Iterable[Path]) -> str:
    """Say which files a mistyped path may have meant, by their file names."""
    by_name: dict[str, Path] = {}
    for candidate in candidates:
        by_name.setdefault(candidate.name, candidate)
    near = difflib.get_close_matches(path.name, by_name, n=3, cutoff=0.6)
    return "".join(f"\n  did you mean {by_name[name]}?" for name in near)
