"""The published tables, read from ``configs/published.yml`` into the classes below.

A file of tables has the form of these classes: their fields are its keys, and those without a
default have to be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]

from mmscalablevit.errors import UsageError
from mmscalablevit.files import find_configs


@dataclass(frozen=True)
class Column:
    """A printed column."""

    title: str
    unit: str = ""

    @property
    def heading(self) -> str:
        """Its title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Metric:
    """Where a column's figure stands in a run's log."""

    key: str
    scale: float = 1.0  # to the column's unit: 100 for a fraction in per cent


@dataclass(frozen=True)
class Test:
    """A run of ``tools/test.py`` with options on the final checkpoint, and the columns it fills."""

    __test__ = False  # pytest takes classes of this name for its own

    name: str  # of its directory, too
    arguments: tuple[str, ...]
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Run:
    """A training run behind a row."""

    config: Path
    metrics: Mapping[str, Metric]  # columns that the validation at its end fills
    needs: Path | None = None  # config of the run whose weights it starts from
    tests: tuple[Test, ...] = ()  # beyond that validation

    @property
    def columns(self) -> dict[str, Metric]:
        """All columns that it fills, those of its tests last."""
        tested = {column: metric for test in self.tests for column, metric in test.metrics.items()}
        return {**self.metrics, **tested}


@dataclass(frozen=True)
class Row:
    """A printed row: one of ours has runs, another's a peer or the reason why it has none."""

    name: str
    published: Mapping[str, float]  # by column; what is not printed is absent
    group: str = ""  # what the table groups its rows by
    notes: Mapping[str, str] = field(default_factory=dict)  # on figures, by column
    peer: str | None = None  # in mmscalablevit.reproduction.peers
    missing: str | None = None  # why the row cannot be counted
    runs: tuple[Run, ...] = ()  # the first one's config is counted


@dataclass(frozen=True)
class Table:
    """A printed table, or the part of one that has columns of its own, in the order of the print.

    ``flops`` says what FLOPs have in them: everything, or by ScalableViT's convention no products
    of attention (see :attr:`mmscalablevit.models.complexity.Complexity.paper_macs`).
    """

    title: str
    source: str
    input_size: tuple[int, int]  # height and width of the image that its models are counted on
    columns: Mapping[str, Column]
    rows: tuple[Row, ...]
    reference: str = "published"  # what the figures in the file are, or such as "target"
    flops: Literal["layers", "everything"] = "layers"
    key: str = ""  # that a user types, and the file has in front of the table


@dataclass(frozen=True)
class _File:
    tables: Mapping[str, Table]


def load_tables(path: Path | None = None) -> dict[str, Table]:
    """Read tables.

    Args:
        path: File to read; by default the papers' tables. Paths in it are relative to the folder
            that holds the ``configs`` folder it lies in, or else to the file's own folder.

    Raises:
        UsageError: The file cannot be read, or something in it is wrong; the message says where.
    """
    path = path or find_configs() / "published.yml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"tables {path} cannot be read: {error}") from None
    folder = path.resolve().parent
    root = folder.parent if folder.name == "configs" else folder
    tables = _read(_File, document, str(path), root).tables
    for key, table in tables.items():
        _check(table, f"{path}, {key}")
    return {key: replace(table, key=key) for key, table in tables.items()}


def select_tables(tables: Mapping[str, Table], names: Iterable[str]) -> list[Table]:
    """Choose tables by key; ``3`` takes all parts of Table 3, such as ``3-retinanet``.

    Without names, all are chosen.

    Raises:
        UsageError: A name fits no table.
    """
    chosen: dict[str, Table] = {}
    for name in names or tables:
        part = re.compile(re.escape(name) + r"(\D.*)?")
        fitting = [name] if name in tables else [key for key in tables if part.fullmatch(key)]
        if not fitting:
            raise UsageError(
                f"there is no table {name}; there are {', '.join(tables)}; --tables FILE reads "
                "others, such as those of configs/digits.yml"
            )
        chosen |= {key: tables[key] for key in fitting}
    return list(chosen.values())


# What YAML makes of our types, and what to call it; of dataclasses and mappings it makes mappings.
_WRITTEN: dict[Any, tuple[Any, str]] = {
    str: (str, "a text"),
    Path: (str, "a path"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    tuple: (list, "a list"),
}


def _read(kind: Any, value: Any, place: str, root: Path) -> Any:
    """Make a value of the type that a field is annotated with, of what YAML has read.

    Every complaint names the place; paths are relative to the root.
    """
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is UnionType:  # with None
        return None if value is None else _read(inner[0], value, place, root)
    if origin is Literal:
        if value not in inner:
            raise UsageError(f"{place}: must be {' or '.join(inner)}, not {value!r}")
        return value
    written, name = _WRITTEN.get(origin, (dict, "a mapping"))
    if not isinstance(value, written) or isinstance(value, bool):
        raise UsageError(f"{place}: must be {name}, not {value!r}")
    if origin is tuple:
        if ... not in inner and len(value) != len(inner):
            raise UsageError(f"{place}: must be a list of {len(inner)}, not {value!r}")
        return tuple(
            _read(inner[0], item, f"{place}, {_label(item, number)}", root)
            for number, item in enumerate(value, 1)
        )
    if origin is Path:
        if not (root / value).is_file():
            raise UsageError(f"{place}: {root / value} does not exist")
        return root / value
    if not isinstance(value, dict):
        return value
    if other := [key for key in value if not isinstance(key, str)]:
        raise UsageError(f"{place}: the key {other[0]!r} must be a string; put it into quotes")
    if origin is Mapping:
        return {key: _read(inner[1], value[key], f"{place}, {key}", root) for key in value}
    kinds = get_type_hints(kind)
    if unknown := ", ".join(sorted(value.keys() - kinds)):
        raise UsageError(f"{place}: unknown {unknown}; known are {', '.join(kinds)}")
    required = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    if missing := ", ".join(name for name in required if name not in value):
        raise UsageError(f"{place}: {missing} is missing")
    return kind(**{key: _read(kinds[key], value[key], f"{place}, {key}", root) for key in value})


def _label(item: Any, number: int) -> str:
    """What to call an element of a list: by its name, or else by its number."""
    return str(item["name"]) if isinstance(item, dict) and "name" in item else str(number)


def _check(table: Table, place: str) -> None:
    """Check what the parts of a table have to do with each other."""
    if min(table.input_size) < 1:
        raise UsageError(f"{place}, input_size: must be height and width in pixels")
    names: set[str] = set()
    for row in table.rows:
        where = f"{place}, {row.name}"
        if row.name in names:
            raise UsageError(f"{where}: the table has another row of this name")
        names.add(row.name)
        if sum(map(bool, (row.peer, row.missing, row.runs))) != 1:
            raise UsageError(f"{where}: must have one of runs, peer and missing")
        used = [*row.published, *row.notes, *(name for run in row.runs for name in run.columns)]
        if unknown := [name for name in used if name not in table.columns]:
            raise UsageError(
                f"{where}: there is no column {unknown[0]}; there are {', '.join(table.columns)}"
            )
