"""Names and shapes of a checkpoint's entries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

LISTED = 12  # entries in a message; the rest is counted


class Comparison(NamedTuple):
    """What keeps the entries of a checkpoint from being those of a model.

    Attributes:
        missing: Those that the checkpoint lacks.
        reshaped: Those that have another shape there.
        unknown: Those that only the checkpoint has.
    """

    missing: list[str]
    reshaped: list[str]
    unknown: list[str]


def compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Comparison:
    """Compare the names and shapes of a model's entries with those of a checkpoint."""
    missing = [name for name in wanted if name not in given]
    both = [name for name in wanted if name in given]
    reshaped = [name for name in both if wanted[name].shape != given[name].shape]
    return Comparison(missing, reshaped, [name for name in given if name not in wanted])


def unwrapped(entries: Mapping[Any, Any]) -> dict[str, Any]:
    """Take off what wrappers for data parallelism and compilation add to the names of weights."""
    plain = ((re.sub(r"(^|\.)_orig_mod\.", r"\1", str(name)), entries[name]) for name in entries)
    return {name.removeprefix("module."): value for name, value in plain}
