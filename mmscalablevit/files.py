"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from mmscalablevit.errors import UsageError


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


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
