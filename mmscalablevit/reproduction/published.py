"""The published tables, read from ``configs/published.yml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mmscalablevit.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "configs" / "published.yml"

# What the FLOPs of a table have in them: everything, or by ScalableViT's convention no products of
# attention (see mmscalablevit.models.complexity.Complexity).
EVERYTHING = "everything"
LAYERS = "layers"


@dataclass(frozen=True)
class Column:
    """A printed column."""

    title: str
    unit: str


@dataclass(frozen=True)
class Metric:
    """Where a column's figure stands in a run's log.

    Attributes:
        key: Name of the metric in the log.
        scale: What turns it into the column's unit, such as 100 for a fraction in per cent.
    """

    key: str
    scale: float = 1.0


@dataclass(frozen=True)
class Test:
    """A run of ``tools/test.py`` on the final checkpoint.

    Attributes:
        name: Tells the tests of a run apart.
        arguments: Options of ``tools/test.py``.
        metrics: Columns that it fills.
    """

    __test__ = False  # pytest takes classes of this name for its own

    name: str
    arguments: tuple[str, ...]
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Run:
    """A training run behind a row.

    Attributes:
        config: Absolute path of the config.
        needs: Config of the run whose weights this one starts from, or None.
        metrics: Columns that the validation at the end of the training fills.
        tests: Tests of the final checkpoint, beyond that validation.
    """

    config: Path
    needs: Path | None
    metrics: Mapping[str, Metric]
    tests: tuple[Test, ...]


@dataclass(frozen=True)
class Row:
    """A printed row: one of ours has runs, another's a peer or the reason why it has none.

    Attributes:
        name: Name in print, unique within its table.
        group: What the table groups its rows by; empty if by nothing.
        published: Printed figures by column; what is not printed is absent.
        notes: Remarks on figures by column, such as why a count differs from the print.
        peer: Name of the model in :mod:`mmscalablevit.reproduction.peers`, or None.
        missing: Why the row cannot be counted, or None.
        runs: What trains the row's model; the first run's config is counted.
    """

    name: str
    group: str
    published: Mapping[str, float]
    notes: Mapping[str, str]
    peer: str | None
    missing: str | None
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Table:
    """A printed table, or the part of one that has columns of its own.

    Attributes:
        key: Name that a user types.
        title: What it shows.
        source: Where it is printed.
        input_size: Height and width of the image that its models are counted on.
        columns: Columns by name, in the order of the print.
        rows: Rows in the order of the print.
        reference: What the figures in the file are, such as ``published`` or ``target``.
        flops: What the FLOPs have in them: ``layers`` or ``everything``.
    """

    key: str
    title: str
    source: str
    input_size: tuple[int, int]
    columns: Mapping[str, Column]
    rows: tuple[Row, ...]
    reference: str = "published"
    flops: str = LAYERS


class _Node:
    """A value in the file together with its place, which every complaint names."""

    def __init__(self, value: Any, place: str) -> None:
        self.value = value
        self.place = place

    def error(self, message: str) -> UsageError:
        return UsageError(f"{self.place}: {message}")

    def items(self) -> list[tuple[str, _Node]]:
        """The entries of a mapping."""
        if not isinstance(self.value, dict):
            raise self.error(f"must be a mapping, not {self.value!r}")
        for key in self.value:
            if not isinstance(key, str):
                raise self.error(f"the key {key!r} must be a string; put it into quotes")
        return [(key, _Node(value, f"{self.place}, {key}")) for key, value in self.value.items()]

    def fields(self, required: Set[str], **defaults: Any) -> dict[str, _Node]:
        """The entries of a mapping whose keys are known; absent ones take their defaults."""
        entries = dict(self.items())
        if unknown := sorted(entries.keys() - required - defaults.keys()):
            known = ", ".join([*sorted(required), *defaults])
            raise self.error(f"unknown {', '.join(unknown)}; known are {known}")
        if missing := sorted(required - entries.keys()):
            raise self.error(f"{', '.join(missing)} is missing")
        absent = {key: _Node(value, f"{self.place}, {key}") for key, value in defaults.items()}
        return absent | entries

    def elements(self) -> list[_Node]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self.error(f"must be a list, not {self.value!r}")
        return [_Node(value, f"{self.place} {i}") for i, value in enumerate(self.value, 1)]

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"must be a text, not {self.value!r}")
        return self.value.strip()

    def optional_text(self) -> str | None:
        """A string, or None where the file has none."""
        return None if self.value is None else self.text()

    def number(self) -> float:
        """An integer or a float, as it is written."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.error(f"must be a number, not {self.value!r}")
        return self.value


def load_tables(path: Path | None = None) -> dict[str, Table]:
    """Read tables and check them.

    Args:
        path: File to read; by default the paper's tables. Paths in it are relative to the folder
            that holds the ``configs`` folder it lies in, or else to the file's own folder.

    Returns:
        Tables by key.

    Raises:
        UsageError: The file cannot be read, or something in it is wrong; the message says where.
    """
    path = PUBLISHED if path is None else path
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"tables {path} cannot be read: {error}") from None
    folder = path.resolve().parent
    root = folder.parent if folder.name == "configs" else folder
    tables = _Node(document, str(path)).fields({"tables"})["tables"]
    return {
        key: _table(key, _Node(node.value, f"{path}, {key}"), root) for key, node in tables.items()
    }


def select_tables(tables: Mapping[str, Table], names: list[str]) -> list[Table]:
    """Choose tables by key; ``3`` takes all parts of Table 3, such as ``3-retinanet``.

    Args:
        tables: All tables.
        names: Keys or their beginnings; none for all tables.

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


def _table(key: str, node: _Node, root: Path) -> Table:
    entries = node.fields(
        {"title", "source", "input_size", "columns", "rows"}, reference="published", flops=LAYERS
    )
    size = [element.number() for element in entries["input_size"].elements()]
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise entries["input_size"].error("must be height and width in pixels")
    if entries["flops"].value not in (LAYERS, EVERYTHING):
        raise entries["flops"].error(f"must be {LAYERS} or {EVERYTHING}")
    columns = {}
    for name, column in entries["columns"].items():
        parts = column.fields({"title"}, unit=None)
        columns[name] = Column(parts["title"].text(), parts["unit"].optional_text() or "")
    rows: list[Row] = []
    for element in entries["rows"].elements():
        label = element.value.get("name") if isinstance(element.value, dict) else None
        row = _Node(element.value, f"{node.place}, {label}") if label else element
        rows.append(_row(row, columns, root))
        if any(other.name == rows[-1].name for other in rows[:-1]):
            raise row.error("the table has another row of this name")
    height, width = (int(side) for side in size)
    return Table(
        key,
        entries["title"].text(),
        entries["source"].text(),
        (height, width),
        columns,
        tuple(rows),
        entries["reference"].text(),
        entries["flops"].text(),
    )


def _row(node: _Node, columns: Mapping[str, Column], root: Path) -> Row:
    entries = node.fields(
        {"name", "published"}, group=None, notes={}, peer=None, missing=None, runs=[]
    )
    row = Row(
        name=entries["name"].text(),
        group=entries["group"].optional_text() or "",
        published={
            column: figure.number() for column, figure in _by_column(entries["published"], columns)
        },
        notes={column: note.text() for column, note in _by_column(entries["notes"], columns)},
        peer=entries["peer"].optional_text(),
        missing=entries["missing"].optional_text(),
        runs=tuple(_run(run, columns, root) for run in entries["runs"].elements()),
    )
    if sum(map(bool, (row.peer, row.missing, row.runs))) != 1:
        raise node.error("must have one of runs, peer and missing")
    return row


def _run(node: _Node, columns: Mapping[str, Column], root: Path) -> Run:
    entries = node.fields({"config", "metrics"}, needs=None, tests=[])
    tests: list[Test] = []
    for element in entries["tests"].elements():
        parts = element.fields({"name", "arguments", "metrics"})
        arguments = tuple(argument.text() for argument in parts["arguments"].elements())
        tests.append(Test(parts["name"].text(), arguments, _metrics(parts["metrics"], columns)))
        if any(other.name == tests[-1].name for other in tests[:-1]):
            raise element.error("the run has another test of this name")
    return Run(
        config=_config(entries["config"], root),
        needs=_config(entries["needs"], root) if entries["needs"].value is not None else None,
        metrics=_metrics(entries["metrics"], columns),
        tests=tuple(tests),
    )


def _config(node: _Node, root: Path) -> Path:
    path = root / node.text()
    if not path.is_file():
        raise node.error(f"config {path} does not exist")
    return path


def _metrics(node: _Node, columns: Mapping[str, Column]) -> dict[str, Metric]:
    metrics = {}
    for column, metric in _by_column(node, columns):
        entries = metric.fields({"key"}, scale=1.0)
        metrics[column] = Metric(entries["key"].text(), entries["scale"].number())
    return metrics


def _by_column(node: _Node, columns: Mapping[str, Column]) -> list[tuple[str, _Node]]:
    for name, _ in node.items():
        if name not in columns:
            raise node.error(f"there is no column {name}; there are {', '.join(columns)}")
    return node.items()
