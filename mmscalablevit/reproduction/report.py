"""Collected tables as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from mmscalablevit.cli.provenance import code_version
from mmscalablevit.reproduction.collecting import Report
from mmscalablevit.reproduction.logs import clean, whole_number
from mmscalablevit.reproduction.published import Column, Row, Table
from mmscalablevit.reproduction.runs import Found, State
from mmscalablevit.reproduction.tables import markdown, shown

_NOTHING = "-"

_CSV_HEADER = (
    *("table", "row", "group", "column", "unit", "published", "ours", "difference"),
    *("final", "origin", "state", "progress", "config", "config_hash", "config_changed"),
    *("batch", "commit", "environment"),
)

# Packages that the short form of an environment names, by the parts of their names.
_STACK = re.compile(r"python|torch|(onedl-)?(mmengine|mmcv|mmdet\w*|mmseg\w*|mmpretrain)(-lite)?")


def to_markdown(report: Report) -> str:
    """Render tables in Markdown: the figures, the runs behind them, and what else was found."""
    time = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    commit = (code_version()["commit"] or "")[:12]
    parts = [f"Collected {time}{f', at commit {commit}' if commit else ''}."]
    for table in report.tables:
        cells = [
            [
                f"{row.name} ({row.group})" if row.group else row.name,
                *(cell for name in _measured(table) for cell in _cells(report, table, row, name)),
                ", ".join(report.runs[run.config].state.value for run in row.runs),
            ]
            for row in table.rows
        ]
        header = ["", *(title for name in _measured(table) for title in _titles(table, name))]
        figures = markdown([*header, "state"], cells, {0, len(header)})
        parts += [f"# {table.title}", f"{table.source}.", figures]
        if any(cell.startswith("(") for line in cells for cell in line[1:]):
            parts.append("In brackets: measured before the end of the training.")
    runs = report.runs.values()
    missing = [run.training.name for run in runs if run.state is State.MISSING]
    lines = [_run(run) for run in runs if run.state is not State.MISSING]
    lines += [f"- missing: {_escape(', '.join(missing))}"] if missing else []
    parts += ["# Runs", "\n".join(lines)]
    problems = [problem for run in runs for problem in run.problems]
    if problems := [*problems, *report.problems]:
        parts += ["# Also found", "\n".join(f"- {_escape(problem)}" for problem in problems)]
    return "\n\n".join(parts) + "\n"


def _run(run: Found) -> str:
    facts = "".join(f"\n  - {key}: {_escape(value)}" for key, value in _facts(run).items() if value)
    return f"- {_escape(run.training.name)}: {_escape(_state(run))}{facts}"


def _escape(text: str) -> str:
    """Keep a text from being read as Markdown or HTML."""
    return re.sub(r"([\\|<`*\[])", r"\\\1", " ".join(text.split()))


def _measured(table: Table) -> list[str]:
    """Columns of a table that runs fill."""
    filled = {column for row in table.rows for run in row.runs for column in run.columns}
    return [column for column in table.columns if column in filled]


def _has_reference(table: Table, name: str) -> bool:
    """Whether the file of the tables has a figure in a column."""
    return any(name in row.published for row in table.rows)


def _titles(table: Table, name: str) -> list[str]:
    title = table.columns[name].heading
    if _has_reference(table, name):
        return [f"{title}, {table.reference}", "ours", "difference"]
    return [f"{title}, ours"]


def _cells(report: Report, table: Table, row: Row, name: str) -> list[str]:
    """The cells below :func:`_titles`.

    ``-`` stands for what is still to be measured; what is not printed and not measured in the row
    is empty.
    """
    column, published = table.columns[name], row.published.get(name)
    ours = _NOTHING if any(name in run.columns for run in row.runs) else ""
    difference = ours if published is not None else ""
    if found := report.figure(row, name):
        value, figures = found
        ours = _number(value, column) if figures.final else f"({_number(value, column)})"
        if figures.final and published is not None:
            sign = "+" if value >= published else ""
            difference = sign + _number(value - published, column)
    if not _has_reference(table, name):
        return [ours]
    return ["" if published is None else str(published), ours, difference]


def _number(value: float, column: Column) -> str:
    return f"{value:.2f}" if column.unit == "%" else f"{value:.4g}"


def _state(run: Found) -> str:
    """State and progress in words."""
    parts = [run.state.value]
    if run.state is not State.DONE:
        parts += [run.progress] if run.progress else []
        parts += [f"goes on from {run.resumes_from}"] if run.resumes_from else []
        parts += [run.holder] if run.holder else []
    return ", ".join(parts)


def _facts(run: Found) -> dict[str, str]:
    """What a reader should know of a run; empty where it is not known."""
    schedule, origins = run.training.schedule, run.origins
    first: Mapping[str, Any] = origins[0] if origins else {}
    last: Mapping[str, Any] = origins[-1] if origins else {}
    batch = _then(map(_batch, origins))
    published = f"{schedule.gpus} x {schedule.batch_size}"
    measured = [run.validation, *run.tests.values()]
    return {
        "config": shown(run.training.config),
        "config hash": clean(last.get("config_hash")),
        "config changed": "; ".join(run.changes),
        "batch": batch if batch in ("", published) else f"{batch} instead of {published}",
        "commit": _then(map(_commit, origins)),
        "environment": _environment(first),
        "begun": clean(first.get("started")),
        "command": clean(first.get("command"), 3000),
        "starts": str(len(origins)) if len(origins) > 1 else "",
        "needs": run.training.needs.name if run.training.needs else "",
        "figures from": ", ".join(figures.origin for figures in measured if figures),
    }


def _then(values: Iterable[str]) -> str:
    """Join the values of a run's starts, those that repeat once."""
    return ", then ".join(dict.fromkeys(filter(None, values)))


def _commit(origin: Mapping[str, Any]) -> str:
    commit = clean(origin.get("commit"))[:12]
    return f"{commit} with changes" if commit and origin.get("dirty") else commit


def _batch(origin: Mapping[str, Any]) -> str:
    processes, size = (whole_number(origin.get(key)) for key in ("processes", "batch_size"))
    return f"{processes} x {size}" if processes and size else ""


def _environment(origin: Mapping[str, Any]) -> str:
    """Devices and the most important versions, in a line."""
    device, versions = clean(origin.get("device")), origin.get("versions")
    devices = [f"{whole_number(origin.get('processes')) or '?'} x {device}"] if device else []
    named = versions.items() if isinstance(versions, dict) else ()
    stack = [f"{name} {clean(version)}" for name, version in named if _STACK.fullmatch(name)]
    return ", ".join(devices + stack)


def to_csv(report: Report) -> str:
    """Render tables as CSV: a line for each figure, with what it comes from."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for table in report.tables:
        for row in table.rows:
            for name in _measured(table):
                run = next((run for run in row.runs if name in run.columns), None)
                published = row.published.get(name)
                if run is None and published is None:
                    continue
                writer.writerow(
                    [
                        *(table.key, row.name, row.group, name, table.columns[name].unit),
                        "" if published is None else published,
                        *_csv_figure(report, row, name),
                        *(_csv_run(report.runs[run.config]) if run else [""] * 8),
                    ]
                )
    return buffer.getvalue()


def _csv_figure(report: Report, row: Row, name: str) -> list[object]:
    found = report.figure(row, name)
    if found is None:
        return [""] * 4
    value, figures = found
    known = figures.final and name in row.published
    difference = round(value - row.published[name], 6) if known else ""
    return [round(value, 6), difference, figures.final, figures.origin]


def _csv_run(run: Found) -> list[object]:
    facts = _facts(run)
    keys = ("config", "config hash", "config changed", "batch", "commit", "environment")
    return [run.state.value, run.progress, *(facts[key] for key in keys)]
