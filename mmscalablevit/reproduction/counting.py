"""Parameters and FLOPs of the models behind the tables, beside the published ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from mmengine.config import Config

from mmscalablevit.cli.config import load_config
from mmscalablevit.errors import UsageError
from mmscalablevit.models.complexity import Complexity, count_complexity
from mmscalablevit.reproduction.peers import build_on_meta, build_peer, own_size
from mmscalablevit.reproduction.published import Row, Run, Table

Size = tuple[int, int]

# Height and width at which the papers of each task count.
SIZES: dict[str, Size] = {
    "mmpretrain": (224, 224),
    "mmdet": (800, 1280),
    "mmseg": (512, 2048),
}


@dataclass(frozen=True)
class Count:
    """What was counted of a model."""

    size: Size  # height and width of the image
    complexity: Complexity
    flops: str  # what they have in them, as published.Table says

    @property
    def macs(self) -> int:
        """Multiply-accumulates by the table's convention."""
        complexity = self.complexity
        return complexity.total_macs if self.flops == "everything" else complexity.paper_macs

    @property
    def figures(self) -> dict[str, float]:
        """Counts by column, in the tables' units: M and, by the table's convention, G."""
        return {"params": self.complexity.parameters / 1e6, "flops": self.macs / 1e9}

    @property
    def texts(self) -> dict[str, str]:
        """The same with two digits or, for multiply-accumulates from 100 G on, with one."""
        digits = 2 if self.macs < 100e9 else 1
        params, flops = self.figures.values()
        return {"params": f"{params:.2f}", "flops": f"{flops:.{digits}f}"}


def prints_as(counted: float, printed: float) -> bool:
    """Whether a count, rounded or cut off to as many digits, is the printed figure."""
    step = 10.0 ** int(Decimal(str(printed)).as_tuple().exponent)
    return abs(counted - printed) <= step / 2 or printed <= counted < printed + step


class Counter:
    """Reads configs and counts models, each only once: several rows can have the same."""

    def __init__(self) -> None:
        self._configs: dict[Path, Config] = {}
        self._counts: dict[tuple[object, ...], Complexity] = {}

    def read(self, config: Path) -> Config:
        """Read a config."""
        path = config.resolve()
        if path not in self._configs:
            self._configs[path] = load_config(str(config))
        return self._configs[path]

    def default_size(self, config: Path) -> Size:
        """Return the height and width that the tables of a config's task count at.

        Raises:
            UsageError: The config is of none of the three tasks.
        """
        scope = self.read(config).get("default_scope")
        if scope not in SIZES:
            raise UsageError(
                f"config {config} has default_scope {scope!r}; known are {', '.join(SIZES)}"
            )
        return SIZES[scope]

    def count_row(self, table: Table, row: Row) -> Count | None:
        """Count the model of a row, if it has one here.

        Raises:
            UsageError: The row's peer has no model to stand in.
        """
        if row.runs:
            return self.count(row.runs[0].config, table.input_size, table.flops)
        if row.peer is None:
            return None
        like = next((other.runs[0].config for other in table.rows if other.runs), None)
        if like is None:
            raise UsageError(
                f"table {table.key}: no row has runs, so its peers have no model to stand in"
            )
        return self.count(like, own_size(row.peer) or table.input_size, table.flops, row.peer)

    def count(self, config: Path, size: Size, flops: str, peer: str | None = None) -> Count:
        """Count a config's model, or that of a peer in its place."""
        cfg = self.read(config)
        key = (peer, repr(cfg.model), size)  # schedules of one model share its count
        if key not in self._counts:
            model = build_peer(peer, cfg) if peer else build_on_meta(cfg.model, cfg.default_scope)
            self._counts[key] = count_complexity(model, size)
        return Count(size, self._counts[key], flops)


def tables_of_configs(
    tables: Iterable[Table], configs: Iterable[Path], counter: Counter
) -> list[Table]:
    """Find the rows whose counted models are those of configs.

    Returns:
        The tables, each with these rows only, and one more table for each config that none has.
    """
    tables, found = list(tables), []
    for config in configs:
        size, path = counter.default_size(config), config.resolve()
        having = [
            replace(table, rows=rows)
            for table in tables
            if (rows := tuple(row for row in table.rows if row.runs and row.runs[0].config == path))
        ]
        row = Row(config.stem, {}, runs=(Run(path, {}),))
        alone = Table("not in the tables", str(config), size, {}, (row,), key=config.stem)
        found += having or [alone]
    return found
