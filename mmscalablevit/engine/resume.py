"""Checkpoints that survive a crash: written whole or not at all, resumed from the newest good."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from mmscalablevit.checkpoints.loading import CheckpointError, load_file

_PERIODIC = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


class WholeFileBackend(LocalBackend):
    """Local files that appear under their name only when they are complete."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write to a temporary name in the same directory, then rename."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_files_whole() -> None:
    """Make MMEngine write its checkpoints and dumps through :class:`WholeFileBackend`."""
    register_backend("local", WholeFileBackend, force=True, prefixes="")


def find_checkpoint(work_dir: str | os.PathLike) -> str | None:
    """Find the newest checkpoint of a run that can be read.

    A file that cannot be read is passed over with a warning. Only the periodic checkpoints count
    (``epoch_3.pth``, ``iter_8000.pth``): the best one may lie far back.

    Returns:
        Its path, or None where there is none.
    """
    numbered = [
        (int(match[1]), path)
        for path in Path(work_dir).glob("*.pth")
        if (match := _PERIODIC.fullmatch(path.name))
    ]
    for _, path in sorted(numbered, reverse=True):
        try:
            load_file(path)
        except CheckpointError as error:
            print_log(f"passed over: {error}", logger="current", level=logging.WARNING)
        else:
            return str(path)
    return None
