"""SIGTERM, noted by the process that trains and by none of its children."""

from __future__ import annotations

import functools
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn

# What shells and schedulers take for "ended by SIGTERM". Not 0: the training is not complete, and
# a script must not go on with what follows it.
EXIT_CODE = 128 + signal.SIGTERM


class Termination:
    """Notes SIGTERM, from :meth:`start` to :meth:`stop`, instead of ending the process.

    Children, whoever forks them, have the handler that was there before: a pool of processes ends
    its workers by SIGTERM and waits for their end.

    Attributes:
        noted: Whether there was one.
    """

    _active: Termination | None = None  # a process has one handler of a signal

    def __init__(self) -> None:
        self.noted = False
        self._previous: Any = signal.SIG_DFL

    def start(self) -> None:
        """Take over from the present handler, unless a library has set it past Python."""
        if Termination._active is not None:
            Termination._active.stop()  # of a run that came to no end
        if signal.getsignal(signal.SIGTERM) is not None:
            _watch_forks()
            Termination._active = self
            self._previous = signal.signal(signal.SIGTERM, self._note)

    def stop(self) -> None:
        """Give SIGTERM back to the handler that was there before."""
        if Termination._active is self:
            signal.signal(signal.SIGTERM, self._previous)
            Termination._active = None

    def end(self) -> NoReturn:
        """End the process as SIGTERM asks for; a handler that was there before is run first.

        Raises:
            SystemExit: Always.
        """
        if callable(self._previous):
            self._previous(signal.SIGTERM, None)
        raise SystemExit(EXIT_CODE)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal.

        More of them change nothing: where Slurm signals all processes of a job, one comes from
        Slurm and another from torchrun, which passes on its own.
        """
        self.noted = True


_mask = threading.local()


def _hold_signal() -> None:
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _let_signal_through() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _restore_in_child() -> None:
    if Termination._active is not None:
        Termination._active.stop()
    _let_signal_through()


@functools.cache  # what is registered stays
def _watch_forks() -> None:
    """Let forked children begin with the handler before; a signal waits until it is restored."""
    os.register_at_fork(
        before=_hold_signal,
        after_in_parent=_let_signal_through,
        after_in_child=_restore_in_child,
    )
