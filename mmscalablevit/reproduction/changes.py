"""Whether a run was trained with what its config says now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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

_ABSENT = object()
_LONGEST = 60  # characters of a value in a message


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


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List what differs between two contents, such as ``optimizer.lr: 0.1 -> 0.2``."""
    old, new = dict(_flat(before, "")), dict(_flat(now, ""))
    return [
        f"{key}: {_text(old.get(key, _ABSENT))} -> {_text(new.get(key, _ABSENT))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested containers by their dotted places."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{place}.{index}")
    else:
        yield place, value


def _text(value: Any) -> str:
    text = "nothing" if value is _ABSENT else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
