"""Parameters and FLOPs of the models behind the tables, beside the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmscalablevit.cli.config import load_config
from mmscalablevit.errors import UsageError
from mmscalablevit.models.complexity import Complexity, count_complexity
from mmscalablevit.reproduction.building import build_model
from mmscalablevit.reproduction.peers import build_peer, own_size
from mmscalablevit.reproduction.published import EVERYTHING, LAYERS, Row, Run, Table

Size = tuple[int, int]

# Height and width at which the papers of each task count.
SIZES: dict[str, Size] = {
    "mmpretrain": (224, 224),
    "mmdet": (800, 1280),
    "mmseg": (512, 2048),
}
# A count that differs from the print by more than this needs a reason.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Count:
    """What was counted for a row.

    Attributes:
        row: The row.
        size: Height and width of the image.
        complexity: The counts.
        flops: What the table's FLOPs have in them.
    """

    row: Row
    size: Size
    complexity: Complexity
    flops: str = LAYERS

    @property
    def macs(self) -> int:
        """Multiply-accumulates by the table's convention."""
        return macs_of(self.complexity, self.flops)

    @property
    def figures(self) -> dict[str, float]:
        """Counts by column, in the tables' units: FLOPs by the table's convention."""
        return {"params": self.complexity.parameters / 1e6, "flops": self.macs / 1e9}

    @property
    def everything(self) -> float:
        """FLOPs in G with everything counted."""
        return self.complexity.total_macs / 1e9

    def unexplained(self) -> list[str]:
        """Columns in which the count differs from the print and nothing says why."""
        return [
            column
            for column, counted in self.figures.items()
            if column in self.row.published
            and differs(counted, self.row.published[column])
            and column not in self.row.notes
        ]


def macs_of(complexity: Complexity, flops: str) -> int:
    """Multiply-accumulates by a table's convention, ``layers`` or ``everything``."""
    return complexity.total_macs if flops == EVERYTHING else complexity.paper_macs


def difference(counted: float, printed: float) -> float:
    """How much larger a count is than the print, relative to the print as it stands."""
    return counted / printed - 1


def prints_as(counted: float, printed: float) -> bool:
    """Whether a count, rounded or cut off to as many digits, is the printed figure."""
    exponent = Decimal(str(printed)).as_tuple().exponent
    step = 10.0 ** int(exponent)
    return abs(counted - printed) <= step / 2 or printed <= counted < printed + step


def differs(counted: float, printed: float) -> bool:
    """Whether a count differs from the print by more than the tolerance and than its rounding."""
    return abs(difference(counted, printed)) > TOLERANCE and not prints_as(counted, printed)


class Counter:
    """Counts models, each only once: several rows can have the same."""

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], Complexity] = {}

    def count_config(self, config: Path, size: Size | None = None) -> Complexity:
        """Count a config's model.

        Args:
            config: The config.
            size: Height and width of the image; by default those of its task's tables.

        Raises:
            UsageError: The config cannot be read, or is of none of the three tasks.
        """
        cfg = load_config(str(config))
        if size is None:
            size = default_size(cfg)
        # Schedules of one model share its count.
        key = (repr(cfg.model), size)
        return self._count(key, size, lambda: build_model(cfg.model, cfg.default_scope))

    def count_row(self, table: Table, row: Row) -> Count | None:
        """Count the model of a row.

        Returns:
            The counts, or None for a row that has no model here.

        Raises:
            UsageError: The row's config or peer cannot be built.
        """
        if row.runs:
            complexity = self.count_config(row.runs[0].config, table.input_size)
            return Count(row, table.input_size, complexity, table.flops)
        if row.peer is None:
            return None
        like = load_config(str(_first_config(table)))
        peer, size = row.peer, table.input_size
        if like.default_scope == "mmpretrain":
            size = own_size(peer) or size
            key: tuple[object, ...] = (peer, size)  # a classifier is the same in all tables
        else:
            key = (peer, table.key)
        complexity = self._count(key, size, lambda: build_peer(peer, like))
        return Count(row, size, complexity, table.flops)

    def _count(
        self, key: tuple[object, ...], size: Size, build: Callable[[], nn.Module]
    ) -> Complexity:
        if key not in self._counts:
            self._counts[key] = count_complexity(build(), size)
        return self._counts[key]


def tables_of_configs(tables: Iterable[Table], configs: Iterable[Path]) -> list[Table]:
    """Find the rows whose counted models are those of configs.

    Args:
        tables: Tables to search.
        configs: Config files.

    Returns:
        The tables, each with these rows only, and one more table for each config that none has.

    Raises:
        UsageError: A config cannot be read or is of none of the three tasks.
    """
    tables, found = list(tables), []
    for config in configs:
        cfg = load_config(str(config))
        path = config.resolve()
        having = [
            replace(table, rows=rows)
            for table in tables
            if (rows := tuple(row for row in table.rows if row.runs and row.runs[0].config == path))
        ]
        run = Run(path, None, {}, ())
        row = Row(config.stem, "", {}, {}, None, None, (run,))
        alone = Table(config.stem, "not in the tables", str(config), default_size(cfg), {}, (row,))
        found += having or [alone]
    return found


def default_size(cfg: Config) -> Size:
    """Return the height and width that the tables of a config's task count at.

    Raises:
        UsageError: The config is of none of the three tasks.
    """
    scope = cfg.get("default_scope")
    if scope not in SIZES:
        raise UsageError(
            f"config {cfg.filename} has default_scope {scope!r}; known are {', '.join(SIZES)}"
        )
    return SIZES[scope]


def _first_config(table: Table) -> Path:
    """The config of ours in whose model the table's peers take the backbone's place."""
    for row in table.rows:
        if row.runs:
            return row.runs[0].config
    raise UsageError(f"table {table.key}: no row has runs, so its peers have no model to stand in")
