"""Tables of rows and of counts, in Markdown that also reads as plain text."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmscalablevit.reproduction.counting import Count, prints_as
from mmscalablevit.reproduction.published import Row, Table

# A count that differs from the print by more than this needs a reason.
TOLERANCE = 0.01
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
    """Lay cells out as a table of even columns; those in ``left`` are aligned on the left."""
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


def shown(path: Path) -> str:
    """Return a path as commands have it: relative to the current directory where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class _Notes:
    """Remarks below a table, numbered; one that several figures have appears once."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}

    def mark(self, figure: str, text: str, mark: str = "") -> str:
        """Put a remark's mark behind a figure."""
        return f"{figure} [{self.marks.setdefault(text, mark or str(len(self.marks) + 1))}]"

    def lines(self) -> list[str]:
        return [f"- [{mark}] {text}" for text, mark in self.marks.items()]


def count_table(table: Table, counts: Mapping[str, Count | None]) -> str:
    """Lay counts, by the names of the rows, out beside the published figures."""
    notes = _Notes()
    header = ["", "params (M)", "print", "diff", "FLOPs (G)", "print", "diff"]
    separate = table.flops != "everything"  # where FLOPs are everything anyway
    cells: list[list[str]] = []
    missing: dict[str, list[str]] = {}
    for row in table.rows:
        count = counts[row.name]
        at = f" at {_size(count.size)}" if count and count.size != table.input_size else ""
        cells.append([f"{row.name}{at}"])
        for column in ("params", "flops"):
            cells[-1] += [
                count.texts[column] if count else "",
                _published(row, column),
                _difference(row, column, count, notes) if count else "",
            ]
        if separate:
            cells[-1] += _everything(row, count) if count else ["", ""]
        if count is None:
            missing.setdefault(row.missing or "", []).append(row.name)
    remarks = notes.lines()
    remarks += [f"- not counted: {', '.join(names)}: {why}" for why, names in missing.items()]
    title = f"{_title(table)}. Counted at {_size(table.input_size)}."
    header += ["everything", "diff"] if separate else []
    return _paragraphs(title, markdown(header, cells), "\n".join(remarks))


def list_table(table: Table, states: Mapping[Path, str]) -> str:
    """Lay out a table's rows: the published figures, and what there is of each config here."""
    notes = _Notes()
    header = ["", *(column.heading for column in table.columns.values())]
    figures, here = [], []
    for row in table.rows:
        figures.append([row.name])
        for column in table.columns:
            figure, note = _published(row, column), row.notes.get(column)
            figures[-1].append(notes.mark(figure, note) if note else figure)
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
    """How much larger a count is than the print, which is taken as it stands."""
    per_cent = round(100 * (counted / printed - 1), 1)
    return f"{per_cent + 0.0:+.1f}"  # no -0.0


def _everything(row: Row, count: Count) -> list[str]:
    everything, printed = replace(count, flops="everything"), row.published.get("flops")
    return [
        everything.texts["flops"],
        _percent(everything.figures["flops"], printed) if printed else "",
    ]


def _difference(row: Row, column: str, count: Count, notes: _Notes) -> str:
    """How much larger a count is than the print in per cent, with its reason if it needs one."""
    if column not in row.published:
        return ""
    counted, printed = count.figures[column], row.published[column]
    text = _percent(counted, printed)
    if column in row.notes:
        return notes.mark(text, row.notes[column])
    if abs(counted / printed - 1) <= TOLERANCE:
        return text
    if prints_as(counted, printed):
        return f"{text} [{ROUNDING}]"
    return notes.mark(text, "nothing says why the count differs from the print", UNKNOWN)
