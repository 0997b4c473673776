"""What every tool does around its work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mmscalablevit.checkpoints import use_safe_loading
from mmscalablevit.cli.distributed import tear_down
from mmscalablevit.errors import UsageError


def run(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> int:
    """Do a tool's work; what the user can mend ends it with a message instead of a traceback.

    Checkpoints are loaded safely from now on, in the whole process. A process group that the work
    has joined is left.

    Returns:
        The exit code, which the work may return.

    Raises:
        SystemExit: The work cannot be done; with the message.
    """
    use_safe_loading()
    try:
        return work(args) or 0
    except UsageError as error:
        sys.exit(f"error: {error}")
    finally:
        tear_down()
