"""The error that the command-line tools show without a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """Something the user asked for cannot be done; the message says what and how to mend it."""
