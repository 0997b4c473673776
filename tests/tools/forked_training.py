"""Train in forked processes, which spares each the seconds of importing the frameworks.

Usage: forked_training.py FAULTS ARGUMENT... with the arguments of tools/train.py. FAULTS is a JSON
list with an entry for each start, one after the other: null to leave it alone, or a pair of
an event's number and what happens there. Events are counted in each process: one at the start of
each iteration, and five during the writing of each checkpoint. What happens is the name of a signal
that the process gets, or ENOSPC: that write and all later ones of the process fail.

Prints a JSON list of each start's exit code (negative for a signal) and last event.
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # takes seconds, and initializations use it
from mmpretrain.utils import register_all_modules

from mmscalablevit import files
from mmscalablevit.runner import checkpointing, loops

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train.py"


class Events:
    """Counts what happens in this process, and interferes at one moment."""

    def __init__(self, fault: Sequence | None, record: Path) -> None:
        self.number, self.kind = fault or (0, "")
        self.count = 0
        self.record = record
        self.full = False

    def happens(self, name: str) -> None:
        self.count += 1
        self.record.write_text(name)
        if self.count == self.number:
            if self.kind == "ENOSPC":
                self.full = True
            else:
                os.kill(os.getpid(), signal.Signals[self.kind])


def watch_iterations(events: Events) -> None:
    for kind in (loops.EpochBasedTrainLoop, loops.IterBasedTrainLoop):
        plain = kind.run_iter

        def run_iter(*arguments: Any, plain: Any = plain) -> None:
            events.happens("iteration")
            plain(*arguments)

        kind.run_iter = run_iter


def watch_writing(events: Events) -> None:
    class SlowFile:
        """Writes in two halves, with an event in between."""

        def __init__(self, path: Any, mode: str) -> None:
            events.happens("write: nothing")
            self.file = builtins.open(path, mode)  # noqa: SIM115

        def write(self, content: bytes) -> None:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            events.happens("write: half")
            if events.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.write(content[len(content) // 2 :])
            events.happens("write: all")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> SlowFile:
            return self

        def __exit__(self, *exception: object) -> None:
            self.file.close()

    class WatchedOs:
        """The module, with an event before and after a file gets its name."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def replace(source: Any, target: Any) -> None:
            events.happens("write: no name")
            os.replace(source, target)
            events.happens("write: complete")

    plain = files.write_whole

    def write_checkpoint(path: Any, content: bytes) -> None:
        files.open, files.os = SlowFile, WatchedOs()
        try:
            plain(path, content)
        finally:
            files.open, files.os = builtins.open, os

    checkpointing.write_whole = write_checkpoint


def start(fault: Sequence | None, arguments: list[str]) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "event"
        record.write_text("")
        sys.stdout.flush()
        if (child := os.fork()) == 0:
            torch.set_num_threads(1)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            events = Events(fault, record)
            watch_iterations(events)
            watch_writing(events)
            sys.argv = [str(TRAIN), *arguments]
            code = 0
            try:
                runpy.run_path(str(TRAIN), run_name="__main__")
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 1
                if isinstance(exit_.code, str):
                    print(exit_.code, file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), record.read_text()


if __name__ == "__main__":
    register_all_modules(init_default_scope=False)
    print(json.dumps([start(fault, sys.argv[2:]) for fault in json.loads(sys.argv[1])]))
