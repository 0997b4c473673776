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
from mmscalablevit.reproduction.building import build_on_meta
from mmscalablevit.reproduction.peers import build_peer, own_size
from mmscalablevit.reproduction.published import Row, Run, Table

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
    """What was counted of a model.

    Attributes:
        size: Height and width of the image.
        complexity: The counts.
        flops: What FLOPs have in them, as :class:`.published.Table` says.
    """

    size: Size
    complexity: Complexity
    flops: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates by the table's convention."""
        complexity = self.complexity
        return complexity.total_macs if self.flops == "everything" else complexity.paper_macs

    @property
    def figures(self) -> dict[str, float]:
        """Counts by column, in the tables' units: M and, by the table's convention, G."""
        return {"params": self.complexity.parameters / 1e6, "flops": self.macs / 1e9}


def difference(counted: float, printed: float) -> float:
    """How much larger a count is than the print, relative to the print as it stands."""
    return counted / printed - 1


def prints_as(counted: float, printed: float) -> bool:
    """Whether a count, rounded or cut off to as many digits, is the printed figure."""
    exponent = Decimal(str(printed)).as_tuple().exponent
    step = 10.0 ** int(exponent)
    return abs(counted - printed) <= step / 2 or printed <= counted < printed + step


class Counter:
    """Counts models, each only once: several rows can have the same."""

    def __init__(self) -> None:
        self._configs: dict[Path, Config] = {}
        self._counts: dict[tuple[object, ...], Complexity] = {}

    def read(self, config: Path) -> Config:
        """Read a config, once.

        Raises:
            UsageError: It cannot be read.
        """
        path = config.resolve()
        if path not in self._configs:
            self._configs[path] = load_config(str(config))
        return self._configs[path]

    def default_size(self, config: Path) -> Size:
        """Return the height and width that the tables of a config's task count at.

        Raises:
            UsageError: The config cannot be read, or is of none of the three tasks.
        """
        scope = self.read(config).get("default_scope")
        if scope not in SIZES:
            raise UsageError(
                f"config {config} has default_scope {scope!r}; known are {', '.join(SIZES)}"
            )
        return SIZES[scope]

    def count_config(self, config: Path, size: Size, flops: str) -> Count:
        """Count a config's model.

        Raises:
            UsageError: The config cannot be read.
        """
        cfg = self.read(config)
        return self._count(
            "", cfg, size, flops, lambda: build_on_meta(cfg.model, cfg.default_scope)
        )

    def count_row(self, table: Table, row: Row) -> Count | None:
        """Count the model of a row.

        Returns:
            The counts, or None for a row that has no model here.

        Raises:
            UsageError: The row's config or peer cannot be built.
        """
        if row.runs:
            return self.count_config(row.runs[0].config, table.input_size, table.flops)
        if row.peer is None:
            return None
        like = next((other.runs[0].config for other in table.rows if other.runs), None)
        if like is None:
            raise UsageError(
                f"table {table.key}: no row has runs, so its peers have no model to stand in"
            )
        name, cfg = row.peer, self.read(like)
        size = own_size(name) or table.input_size
        return self._count(name, cfg, size, table.flops, lambda: build_peer(name, cfg))

    def _count(
        self, peer: str, cfg: Config, size: Size, flops: str, build: Callable[[], nn.Module]
    ) -> Count:
        key = (peer, repr(cfg.model), size)  # schedules of one model share its count
        if key not in self._counts:
            self._counts[key] = count_complexity(build(), size)
        return Count(size, self._counts[key], flops)


def tables_of_configs(
    tables: Iterable[Table], configs: Iterable[Path], counter: Counter
) -> list[Table]:
    """Find the rows whose counted models are those of configs.

    Args:
        tables: Tables to search.
        configs: Config files.
        counter: What reads the configs.

    Returns:
        The tables, each with these rows only, and one more table for each config that none has.

    Raises:
        UsageError: A config cannot be read or is of none of the three tasks.
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
