"""Files that are written whole or not at all, and where this project's own lie."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mmscalablevit.errors import UsageError, near_names

_PACKAGE = Path(__file__).resolve().parent


def find_configs() -> Path:
    """Find the folder of this project's configs: in the checkout, or in an installed package.

    Raises:
        UsageError: There is none.
    """
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / ".mim" / "configs"):
        if (folder / "published.yml").is_file():
            return folder
    raise UsageError(
        f"the configs of mmscalablevit are not beside {_PACKAGE}: this needs a checkout, installed "
        "with pip install -e ."
    )


def find_config(name: str | os.PathLike) -> Path:
    """Find a config: a file, or one of this project's from wherever the program runs.

    Args:
        name: Path of a file; or the name of a config of this project, such as
            ``'scalablevit-small_8xb128_in1k'``, or its path below ``configs``, with this folder or
            MMEngine's ``'mmscalablevit::'`` in front or not.

    Raises:
        UsageError: There is none; near names are offered.
    """
    path = Path(name)
    if path.is_file():
        return path
    inner = Path(str(name).removeprefix("mmscalablevit::").removeprefix("configs/"))
    inner = inner.with_suffix("") if inner.suffix == ".py" else inner
    folder = find_configs()
    own = [file for file in sorted(folder.rglob("*.py")) if file.parent.name != "_base_"]
    for file in own:
        if inner.as_posix() in (file.stem, file.relative_to(folder).with_suffix("").as_posix()):
            return file
    nearby = path.parent.glob("*.py") if path.parent.is_dir() else []
    raise UsageError(f"config {name} does not exist{near_names(path, [*nearby, *own])}")


def ensure_writable(directory: str | os.PathLike) -> None:
    """Make a directory and check that files can be written to it.

    Raises:
        UsageError: They cannot.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=os.fspath(directory)):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}") from error


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file that appears under its name only when it is complete.

    Folders that are missing are made.

    Raises:
        OSError: It cannot be written; a file of that name is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, f"{json.dumps(content, indent=2)}\n".encode())
