"""Whether a run was trained with what its config says now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmscalablevit.checkpoints.reading import CheckpointError, load_file
from mmscalablevit.cli.provenance import config_content
from mmscalablevit.reproduction.logs import (
    DUMPED_CONFIG,
    DamagedFileError,
    newest_checkpoint,
    parse_config,
    read_config,
)
from mmscalablevit.reproduction.logs import starts as list_starts


def trained_contents(work_dir: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the configs that the starts of a run were made with.

    They lie beside the logs, and also in the checkpoints, which are read where the logs have none.

    Returns:
        One content (see :func:`.provenance.config_content`) for each start whose config can be
        read, and a message for each that cannot.
    """
    contents, problems = [], []
    for start in list_starts(work_dir):
        if not os.path.isdir(start / "vis_data") or os.path.exists(start / f"{start.name}.json"):
            continue  # a start that failed at once, or a test
        try:
            config = read_config(start / DUMPED_CONFIG)
        except DamagedFileError as error:
            problems.append(str(error))
        else:
            if config is not None:
                contents.append(config_content(config))
    if not contents and (checkpoint := newest_checkpoint(work_dir)[0]):
        try:
            contents.append(config_content(_saved_config(checkpoint)))
        except CheckpointError as error:
            problems.append(str(error))
        except (SyntaxError, ValueError, TypeError, LookupError, RecursionError, MemoryError):
            problems.append(f"{checkpoint} does not say which config it is of")
    return contents, problems


def _saved_config(checkpoint: Path) -> dict[str, Any]:
    return parse_config(load_file(checkpoint)["meta"]["cfg"])
