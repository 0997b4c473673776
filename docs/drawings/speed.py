"""Draw the table "In a hurry" of docs/performance.md as bars: `python docs/drawings/speed.py`.

The picture names the table that it was drawn from, so that a test sees when it is outdated.
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent.parent
PICTURE = DOCS / "images/speed.png"
_TABLE = re.compile(r"<!-- table: speed -->\n(.*?)\n<!-- end -->", re.DOTALL)


def read_rows() -> list[list[str]]:
    """The cells of the table, without its header."""
    found = _TABLE.search((DOCS / "performance.md").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("docs/performance.md has no table: speed")
    lines = found[1].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.split("|")[1:-1]] for line in lines]


def draw_bars(axes: Axes, rows: list[list[str]], column: int, title: str) -> None:
    """One machine's rows as bars of the figures of a column, the first row on top."""
    values = [float(row[column]) for row in rows]
    names = [f"{row[1].partition(',')[0]}{', compiled' * ('--compile' in row[1])}" for row in rows]
    labels = [f"{name}, {row[2]} at a time" for name, row in zip(names, rows, strict=True)]
    bars = axes.barh(labels, values, color="#4c72b0")
    axes.bar_label(bars, labels=[row[column] for row in rows], padding=3)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, 1.2 * max(values))
    axes.spines[["top", "right"]].set_visible(False)


def draw(rows: list[list[str]]) -> Figure:
    """A panel for each machine: images a second where all its rows have them, or times naive."""
    machines = list(dict.fromkeys(row[0] for row in rows))
    own = [[row for row in rows if row[0] == machine] for machine in machines]
    figure = Figure(figsize=(7.5, 0.45 * len(rows) + 1.2), layout="constrained")
    heights = [len(part) for part in own]
    panels = figure.subplots(len(machines), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, machine, part in zip(panels, machines, own, strict=True):
        column, unit = (3, "images/s") if all(row[3] for row in part) else (4, "times naive")
        draw_bars(axes, part, column, f"{machine}: {unit}")
    return figure


if __name__ == "__main__":
    ROWS = read_rows()
    draw(ROWS).savefig(PICTURE, dpi=130, metadata={"Description": str(ROWS)})
