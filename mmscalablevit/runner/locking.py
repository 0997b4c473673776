"""One training at a time in a work directory.

The lock is a POSIX record lock, which belongs to a process: the kernel drops it with the process,
however that ends, and neither data loader workers nor other children inherit it. On network file
systems that support locks it holds between machines too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mmengine.logging import print_log

from mmscalablevit.errors import FAILURES, UsageError

LOCK_NAME = ".lock"

# Whoever looks at a lock holds it for an instant.
_PATIENCE = 3.0  # seconds


@dataclass(frozen=True)
class Holder:
    """The process that trains, or trained last, in a work directory.

    Attributes:
        host: Name of its machine.
        pid: Its process id there.
        slurm_job: Id of its Slurm job, if it belongs to one.
    """

    host: str
    pid: int
    slurm_job: str | None = None

    def __str__(self) -> str:
        job = f" (Slurm job {self.slurm_job})" if self.slurm_job else ""
        return f"process {self.pid} on {self.host}{job}"


@contextlib.contextmanager
def lock_work_dir(work_dir: str | os.PathLike) -> Iterator[None]:
    """Hold a work directory's lock, in the first process of a distributed training.

    Where the file system knows no locks, the training goes on without. At the end the file is left
    empty, which tells an end from a death on another machine.

    Raises:
        UsageError: Another process trains there.
    """
    if int(os.environ.get("RANK", 0)) > 0:
        yield
        return
    # Closing the file drops the lock.
    with open(Path(work_dir) / LOCK_NAME, "a+", encoding="utf-8") as file:
        _take(file, work_dir)
        file.truncate(0)
        holder = Holder(socket.gethostname(), os.getpid(), os.environ.get("SLURM_JOB_ID"))
        file.write(json.dumps(asdict(holder)))
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def _take(file: IO[str], work_dir: str | os.PathLike) -> None:
    """Lock a work directory's file.

    Raises:
        UsageError: Another process holds it.
    """
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            if time.monotonic() > give_up:
                raise UsageError(
                    f"{last_holder(work_dir) or 'another process'} trains in {work_dir} already; "
                    "wait for it or stop it, or choose another --work-dir"
                ) from None
            time.sleep(0.1)
        except OSError as error:
            message = f"{work_dir} cannot be locked ({error.strerror}): do not train there twice"
            print_log(message, logger="current", level=logging.WARNING)
            return


def current_holder(work_dir: str | os.PathLike) -> Holder | None:
    """Find the process that holds a work directory's lock now, if one does and locks are known.

    Must not be called by a process that holds the lock itself: it would drop it.
    """
    try:
        with open(Path(work_dir) / LOCK_NAME, encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return last_holder(work_dir) or Holder("an unknown machine", 0)
    except OSError:
        pass
    return None


def last_holder(work_dir: str | os.PathLike) -> Holder | None:
    """Find the process that holds a work directory's lock or died while it did, if one did."""
    try:
        content = json.loads((Path(work_dir) / LOCK_NAME).read_text(encoding="utf-8"))
        job = content.get("slurm_job")
        return Holder(str(content["host"]), int(content["pid"]), None if job is None else str(job))
    except FAILURES:  # whatever stands there
        return None
