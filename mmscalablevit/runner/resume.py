"""Which of a work directory's checkpoints a run goes on from: the newest good one of its own."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from itertools import takewhile
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import Runner

from mmscalablevit.checkpoints.reading import Checkpoint, CheckpointError, load_file
from mmscalablevit.errors import UsageError
from mmscalablevit.files import write_json
from mmscalablevit.hooks.matching import MatchingCheckpointHook

# By epoch, within an epoch, and by iteration.
_PERIODIC = re.compile(r"(?:epoch_(\d+)(?:_iter_(\d+))?|iter_(\d+))\.pth")


# Names the checkpoints of a directory that are of earlier runs, and when each was written.
_EARLIER = ".earlier_checkpoints.json"


def find_checkpoint(work_dir: str | os.PathLike) -> Checkpoint | None:
    """Find the newest checkpoint of a run that can be read, and read it.

    A file that cannot be read is passed over with a warning. Only those count that the run
    writes on its way (``epoch_3.pth``, ``epoch_3_iter_8500.pth``, ``iter_8000.pth``): the best one
    may lie far back. Those that :func:`set_aside` names do not count.
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


def list_checkpoints(work_dir: str | os.PathLike) -> list[Path]:
    """List the checkpoints that runs have written on their way, the newest first."""
    numbered = [
        (tuple(int(number or 0) for number in (match[1], match[2] or match[3])), path)
        for path in Path(work_dir).glob("*.pth")
        if (match := _PERIODIC.fullmatch(path.name))
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def own_checkpoints(work_dir: str | os.PathLike) -> list[Path]:
    """List a run's checkpoints, the newest first, without those that :func:`set_aside` names."""
    earlier = _set_aside_before(Path(work_dir))
    return [
        path
        for path in list_checkpoints(work_dir)
        if path.name not in earlier or earlier[path.name] != _written(path)
    ]


def _written(path: Path) -> int | None:
    """Return when a file was written, in nanoseconds; None where it cannot be told."""
    try:
        return path.stat().st_mtime_ns
    except OSError:  # a link to nowhere, or a file that was removed a moment ago
        return None


def newer_checkpoints(work_dir: str | os.PathLike, path: str | None) -> dict[str, int]:
    """Find the checkpoints in a directory that a run from this checkpoint on does not follow.

    Args:
        work_dir: The run's directory.
        path: What it goes on from; None if it starts at the beginning.

    Returns:
        Their names and the times they were written at, in nanoseconds.
    """
    found = list_checkpoints(work_dir)
    start = Path(path).resolve() if path else None
    known = any(other.resolve() == start for other in found)
    newer = takewhile(lambda other: other.resolve() != start, found) if known else found
    times = {file.name: _written(file) for file in newer}
    return {name: time for name, time in times.items() if time is not None}


def set_aside(work_dir: str | os.PathLike, earlier: dict[str, int]) -> None:
    """Note that checkpoints are of an earlier run than the one that now writes beside them.

    They stay where they are, but :func:`find_checkpoint` passes over them: an ``epoch_300.pth`` of
    an earlier run is not where a new one goes on from its ``epoch_5.pth``. A file that is written
    anew under such a name counts again.

    Args:
        work_dir: The run's directory.
        earlier: What :func:`newer_checkpoints` found before the run wrote anything.
    """
    directory = Path(work_dir)
    write_json(directory / _EARLIER, {**_set_aside_before(directory), **earlier})


def _set_aside_before(directory: Path) -> dict[str, int]:
    """Read what :func:`set_aside` noted: names of files and when they were written."""
    try:
        content = json.loads((directory / _EARLIER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


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


# Not enough space, over quota, failed hardware, read-only file system.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def explain_disk_error(error: BaseException) -> str | None:
    """Say what a failed write means for a run; None if the error is of another kind."""
    if not isinstance(error, OSError) or error.errno not in _DISK_ERRORS:
        return None
    name = error.filename or "a file of the work directory"
    return (
        f"{name} cannot be written: {error.strerror}; the checkpoints so far are whole. Free space "
        "and go on with --resume auto"
    )
