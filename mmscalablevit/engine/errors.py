"""The error that the command-line tools show without a traceback."""

from __future__ import annotations

import traceback

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


def first_line(error: BaseException) -> str:
    """An error as one line: its kind, and the first line of what it says."""
    text = str(error).strip().split("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def module_line(error: BaseException) -> int | None:
    """The line of a file's own code, outside functions, that an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].lineno if frames and frames[-1].name == "<module>" else None
