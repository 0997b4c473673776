"""Exported files in the place of checkpoints."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mmscalablevit.cli import provenance
from mmscalablevit.errors import UsageError, listed_below
from mmscalablevit.export import files
from mmscalablevit.export.formats import Exported

# What a graph does not depend on.
_BEHIND = ("train_cfg", "test_cfg")


def read_exported(path: str, cfg: Config) -> Exported | None:
    """Read a file of ``tools/export.py``, and make sure that it is of a config's model.

    Args:
        path: A file.
        cfg: The config that it is used with.

    Returns:
        Its content, for :func:`.put_in_place`; None if the path has no exported file's ending.

    Raises:
        UsageError: It cannot be used.
    """
    if files.choose_format(path) is None:
        return None
    exported = files.read(Path(path))
    before, now = (
        {part: value for part, value in model.items() if part not in _BEHIND}
        for model in (exported.metadata["config"]["model"], provenance.config_content(cfg)["model"])
    )
    if differing := provenance.differences(before, now):
        raise UsageError(f"{path} is not of this config's model:{listed_below(differing, 5)}")
    return exported
