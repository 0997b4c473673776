"""The tools, run in the process of the tests, which stays as it was."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.runner import CheckpointLoader
from mmengine.utils import ManagerMixin

from tests.leaves import ROOT

TOOLS = ROOT / "tools"


class Ending(NamedTuple):
    """How a tool ended: its exit code, what it has printed, and the error that it ended with."""

    code: int
    shown: str
    message: str


def run_tool(tool: str, *arguments: object) -> Ending:
    """Run a tool as a user does, within this process.

    Other exceptions than the one that ends a program pass through: a user would see a traceback.
    """
    shown = io.StringIO()
    code: int | str | None = 0
    with (
        process_kept(),
        mock.patch.object(sys, "argv", [str(TOOLS / tool), *map(str, arguments)]),
        contextlib.redirect_stdout(shown),
        contextlib.redirect_stderr(shown),
    ):
        try:
            runpy.run_path(str(TOOLS / tool), run_name="__main__")
        except SystemExit as ending:
            code = ending.code
    message = code if isinstance(code, str) else ""
    return Ending(1 if message else int(code or 0), shown.getvalue(), message)


@contextlib.contextmanager
def process_kept() -> Iterator[None]:
    """Put back what the tools set up for the process that they usually have for themselves."""
    on_termination = signal.getsignal(signal.SIGTERM)
    deterministic = torch.are_deterministic_algorithms_enabled()
    with loading_kept(), managers_kept():
        for kind in managers():
            kind._instance_dict = OrderedDict()
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, on_termination)
            torch.use_deterministic_algorithms(deterministic)


@contextlib.contextmanager
def loading_kept() -> Iterator[None]:
    """Put back how the process reads checkpoints and other pickles, and its environment."""
    allowed = torch.serialization.get_safe_globals()
    with (
        mock.patch.dict(os.environ),
        mock.patch.dict(file_handlers),
        mock.patch.object(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes)),
    ):
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(allowed)


def managers() -> list[Any]:
    """MMEngine's classes that keep their instances by name for the life of the process."""
    found: list[Any] = [ManagerMixin]
    for kind in found:
        found += kind.__subclasses__()
    return found


@contextlib.contextmanager
def managers_kept() -> Iterator[None]:
    """Put back MMEngine's default scopes, loggers, message hubs and visualizers."""
    before = {kind: kind._instance_dict.copy() for kind in managers()}
    try:
        yield
    finally:
        for kind in managers():
            kind._instance_dict = before.get(kind, OrderedDict())
