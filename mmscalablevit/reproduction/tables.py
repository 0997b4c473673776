"""Tables of rows and of counts, in Markdown that also reads as plain text."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from mmscalablevit.reproduction.counting import TOLERANCE, Count, difference, prints_as
from mmscalablevit.reproduction.published import Row, Table

ROUNDING = "r"
UNKNOWN = "!"
LEGEND = f"""\
diff: count against print in %, with the print taken as it stands. Over {TOLERANCE:.0%} there is a
reason: in the list below the table, or [{ROUNDING}]: the count, rounded or cut off, is the print.
FLOPs: multiply-accumulates for one image. Of ScalableViT's tables by the convention of its paper,
which leaves attention's two products out and counts queries, keys and values of windows on a map
that is filled up to whole windows; under "everything" what the model computes, with attention. Of
other papers' tables everything counts."""


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], left: Container[int] = (0,)
) -> str:
    """Lay cells out as a table of even columns.

    Args:
        header: Titles of the columns.
        rows: Cells of each row.
        left: Indices of the columns that are aligned on the left; the rest hold figures.
    """
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(map(line, (escaped[0], rule, *escaped[1:])))


def format_params(parameters: int) -> str:
    """Write a number of parameters in M."""
    return f"{parameters / 1e6:.2f}"


def format_flops(macs: int) -> str:
    """Write multiply-accumulates in G: to two digits or, from 100 G on, to one."""
    return f"{macs / 1e9:.2f}" if macs < 100e9 else f"{macs / 1e9:.1f}"


def shown(path: Path) -> str:
    """Return a path as commands have it: relative to the current directory where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class _Notes:
    """Remarks below a table, numbered; one that several figures have appears once."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def mark(self, text: str) -> str:
        return self.texts.setdefault(text, str(len(self.texts) + 1))

    def lines(self) -> list[str]:
        return [f"- [{mark}] {text}" for text, mark in self.texts.items()]


def count_table(table: Table, counts: Mapping[str, Count | None]) -> str:
    """Lay counts out beside the published figures.

    Args:
        table: The table.
        counts: Counts by the names of the rows; None where there is nothing to count.
    """
    notes = _Notes()
    header = ["", "params (M)", "print", "diff", "FLOPs (G)", "print", "diff", "everything", "diff"]
    width = 7 if table.flops == "everything" else 9  # where FLOPs are everything anyway
    cells: list[list[str]] = []
    missing: dict[str, list[str]] = {}
    for row in table.rows:
        if count := counts[row.name]:
            cells.append(_count_line(table, row, count, notes)[:width])
            continue
        params, flops = (_published(row, column) for column in ("params", "flops"))
        cells.append([row.name, "", params, "", "", flops, "", "", ""][:width])
        missing.setdefault(row.missing or "", []).append(row.name)
    remarks = notes.lines()
    remarks += [f"- not counted: {', '.join(names)}: {why}" for why, names in missing.items()]
    title = f"{_title(table)}. Counted at {_size(table.input_size)}."
    return _paragraphs(title, markdown(header[:width], cells), "\n".join(remarks))


def _count_line(table: Table, row: Row, count: Count, notes: _Notes) -> list[str]:
    complexity, printed = count.complexity, row.published.get("flops")
    return [
        row.name if count.size == table.input_size else f"{row.name} at {_size(count.size)}",
        format_params(complexity.parameters),
        _published(row, "params"),
        _difference(row, "params", count, notes),
        format_flops(count.macs),
        _published(row, "flops"),
        _difference(row, "flops", count, notes),
        format_flops(complexity.total_macs),
        _percent(complexity.total_macs / 1e9, printed) if printed else "",
    ]


def list_table(table: Table, states: Mapping[Path, str]) -> str:
    """Lay out a table's rows: the published figures, and what there is of each here.

    Args:
        table: The table.
        states: How far the runs of the table's configs are.
    """
    notes = _Notes()
    header = ["", *(column.heading for column in table.columns.values())]
    figures, here = [], []
    for row in table.rows:
        line = [row.name]
        for column in table.columns:
            note = row.notes.get(column)
            line.append(_published(row, column) + (f" [{notes.mark(note)}]" if note else ""))
        figures.append(line)
        here += [[row.name, shown(run.config), states[run.config]] for run in row.runs]
        if row.peer:
            here.append([row.name, f"peer {row.peer}", "can be counted"])
        if row.missing:
            here.append([row.name, "nothing", row.missing])
    below = markdown(["", "here", "state"], here, {0, 1, 2})
    return _paragraphs(_title(table), markdown(header, figures), "\n".join(notes.lines()), below)


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def _title(table: Table) -> str:
    return f"## {table.key}: {table.title}\n\n{table.source}"


def _published(row: Row, column: str) -> str:
    return str(row.published.get(column, ""))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _percent(counted: float, printed: float) -> str:
    per_cent = round(100 * difference(counted, printed), 1)
    return f"{per_cent + 0.0:+.1f}"  # no -0.0


def _difference(row: Row, column: str, count: Count, notes: _Notes) -> str:
    if column not in row.published:
        return ""
    counted, printed = count.figures[column], row.published[column]
    text = _percent(counted, printed)
    if column in row.notes:
        return f"{text} [{notes.mark(row.notes[column])}]"
    if abs(difference(counted, printed)) <= TOLERANCE:
        return text
    if prints_as(counted, printed):
        return f"{text} [{ROUNDING}]"
    notes.texts["nothing says why the count differs from the print"] = UNKNOWN
    return f"{text} [{UNKNOWN}]"
