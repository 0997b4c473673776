"""Which of a work directory's checkpoints a run goes on from: the newest good one of its own."""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import Runner

from mmscalablevit.checkpoints.reading import Checkpoint, CheckpointError, load_file
from mmscalablevit.errors import UsageError
from mmscalablevit.files import write_whole
from mmscalablevit.hooks.matching import MatchingCheckpointHook

# By epoch, within an epoch, and by iteration.
_PERIODIC = re.compile(r"(?:epoch_(\d+)(?:_iter_(\d+))?|iter_(\d+))\.pth")

_LAST = "last_checkpoint"  # where MMEngine names the one that was saved last

# Not enough space, over quota, failed hardware, read-only file system.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def find_checkpoint(work_dir: str | os.PathLike) -> Checkpoint | None:
    """Find the newest checkpoint of a run that can be read, and read it.

    A file that cannot be read is passed over with a warning. Only those count that the run
    writes on its way (``epoch_3.pth``, ``epoch_3_iter_8500.pth``, ``iter_8000.pth``): the best one
    may lie far back.
    """
    for path in own_checkpoints(work_dir):
        try:
            return Checkpoint(str(path), load_file(path))
        except (CheckpointError, FileNotFoundError) as error:
            print_log(f"passed over: {error}", logger="current", level=logging.WARNING)
    return None


def note_earlier_run(work_dir: str | os.PathLike) -> None:
    """Warn of checkpoints of an earlier run in a directory where a run begins."""
    if earlier := own_checkpoints(work_dir):
        message = (
            f"{work_dir} holds checkpoints of an earlier run, the newest is {earlier[0]}. This run "
            "starts at the beginning and replaces those whose names it uses; to go on from them "
            "instead, stop it and add --resume"
        )
        print_log(message, logger="current", level=logging.WARNING)


def own_checkpoints(work_dir: str | os.PathLike) -> list[Path]:
    """List the checkpoints that a run has written on its way, the newest first.

    Those of an earlier run beside it are left out. They have higher numbers than the one that was
    saved last, and are older: an ``epoch_300.pth`` of an earlier run is not where a new one goes on
    from its ``epoch_5.pth``.
    """
    found = [path for path in Path(work_dir).glob("*.pth") if _number(path) is not None]
    found.sort(key=_number, reverse=True)
    note = Path(work_dir) / _LAST
    try:
        last, since = _number(Path(note.read_text(encoding="utf-8").strip())), _written(note)
    except (OSError, ValueError):
        return found
    return [
        path for path in found if last is None or _number(path) <= last or _written(path) > since
    ]


def note_last(work_dir: str | os.PathLike, path: str) -> None:
    """Note which checkpoint was saved last, as MMEngine does."""
    write_whole(Path(work_dir) / _LAST, path.encode())


def _number(path: Path) -> Any:
    """Epochs and iterations of a checkpoint by its name; None if it is none of the periodic."""
    match = _PERIODIC.fullmatch(path.name)
    return match and (int(match[1] or 0), int(match[2] or match[3] or 0))


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # a link to nowhere, or a file that was removed a moment ago
        return 0.0


def remove_leftovers(work_dir: str | os.PathLike) -> None:
    """Remove the halves of files that a killed process was writing.

    To be called when no other training writes there.
    """
    for path in Path(work_dir).glob(".*.pth.*.tmp"):
        path.unlink(missing_ok=True)


def require_same_model(runner: Runner, checkpoint: Checkpoint) -> None:
    """Check, before data sets are read, that the checkpoint to resume is of the run's model.

    Raises:
        UsageError: It is of another one.
    """
    try:
        MatchingCheckpointHook().after_load_checkpoint(runner, checkpoint.content)
    except CheckpointError as error:
        raise UsageError(
            f"--resume: {checkpoint.path} is of another config; choose another --work-dir, or the "
            f"config that the work directory is of\n{error}"
        ) from error


def explain_disk_error(error: BaseException) -> str | None:
    """Say what a failed write means for a run; None if the error is of another kind."""
    if not isinstance(error, OSError) or error.errno not in _DISK_ERRORS:
        return None
    name = error.filename or "a file of the work directory"
    return (
        f"{name} cannot be written: {error.strerror}; the checkpoints so far are whole. Free space "
        "and go on with --resume auto"
    )
