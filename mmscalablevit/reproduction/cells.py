"""What a collected table says, as texts that every form of it shares."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from mmscalablevit.reproduction.collecting import RunReport, TableReport
from mmscalablevit.reproduction.published import Column, Row
from mmscalablevit.reproduction.script import shown

NOTHING = "-"
PRELIMINARY = "In brackets: measured before the end of the training."


def groups(report: TableReport) -> list[tuple[str, list[str]]]:
    """Titles of the measured columns, each with those of its cells."""
    titles = []
    for name in report.measured_columns():
        column = report.table.columns[name]
        title = f"{column.title} ({column.unit})" if column.unit else column.title
        known = _has_reference(report, name)
        titles.append(
            (title, [report.table.reference, "ours", "difference"] if known else ["ours"])
        )
    return titles


def header(report: TableReport) -> list[str]:
    """Titles of the cells, in a line."""
    titles = []
    for title, parts in groups(report):
        titles += [f"{title}, {parts[0]}", *parts[1:]]
    return titles


def figures(report: TableReport, row: Row) -> list[str]:
    """The cells of a row below :func:`header`.

    ``-`` stands for what is still to be measured; what is not printed and not measured in the row
    is empty.
    """
    return [cell for name in report.measured_columns() for cell in _cells(report, row, name)]


def _cells(report: TableReport, row: Row, name: str) -> list[str]:
    column, published = report.table.columns[name], row.published.get(name)
    figure = report.figure(row, name)
    ours = NOTHING if report.run_of(row, name) else ""
    difference = ours if published is not None else ""
    if figure is not None:
        ours = _number(figure.value, column)
        if not figure.final:
            ours = f"({ours})"
        elif published is not None:
            difference = f"{'+' if figure.value >= published else ''}" + _number(
                figure.value - published, column
            )
    if not _has_reference(report, name):
        return [ours]
    return ["" if published is None else str(published), ours, difference]


def _number(value: float, column: Column) -> str:
    return f"{value:.2f}" if column.unit == "%" else f"{value:.4g}"


def _has_reference(report: TableReport, name: str) -> bool:
    """Whether the file of the tables has a figure in a column."""
    return any(name in row.published for row in report.table.rows)


def states(report: TableReport, row: Row) -> list[str]:
    """States of the runs behind a row."""
    return [report.runs[run.config].status.state.value for run in row.runs]


def is_preliminary(cell: str) -> bool:
    """Whether a cell has a figure from before the end of the training."""
    return cell.startswith("(")


def has_preliminary(reports: Sequence[TableReport]) -> bool:
    """Whether any cell has a figure from before the end of its training."""
    return any(
        is_preliminary(cell)
        for report in reports
        for row in report.table.rows
        for cell in figures(report, row)
    )


def facts(run: RunReport) -> dict[str, str]:
    """What a reader should know of a run, without what is not known."""
    first = run.origins[0] if run.origins else None
    commits = dict.fromkeys(origin.commit for origin in run.origins if origin.commit)
    origins = dict.fromkeys(figure.origin for figure in run.figures.values())
    everything = {
        "state": run.state,
        "config": shown(run.training.run.config),
        "config hash": run.config_hash,
        "config changed": "; ".join(run.changes),
        "batch": run.batch,
        "commit": ", then ".join(commits),
        "environment": first.environment if first else "",
        "begun": first.time if first else "",
        "command": first.command if first else "",
        "starts": str(len(run.origins)) if len(run.origins) > 1 else "",
        "needs": run.training.needs.name if run.training.needs else "",
        "figures from": ", ".join(origins),
    }
    return {key: value for key, value in everything.items() if value}


def all_runs(reports: Sequence[TableReport]) -> list[tuple[TableReport, RunReport]]:
    """The runs of several tables, each once, with the first table that has it."""
    found: dict[Path, tuple[TableReport, RunReport]] = {}
    for report in reports:
        for config, run in report.runs.items():
            found.setdefault(config, (report, run))
    return list(found.values())


def problems(reports: Sequence[TableReport]) -> list[str]:
    """What was found beside the runs."""
    return list(dict.fromkeys(problem for report in reports for problem in report.problems))


def title(reports: Sequence[TableReport]) -> str:
    """A title for a page of several tables."""
    return reports[0].table.title if len(reports) == 1 else "Tables and runs"


def now() -> str:
    """The time of a report."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
