"""The figures of tables that runs have measured, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmscalablevit.cli.provenance import code_version
from mmscalablevit.errors import listed
from mmscalablevit.reproduction.logs import clean, whole_number
from mmscalablevit.reproduction.plan import all_runs, plan
from mmscalablevit.reproduction.published import Metric, Row, Run, Table
from mmscalablevit.reproduction.runs import Found, Measured, State, examine, list_strangers
from mmscalablevit.reproduction.tables import markdown, shown

_MOST_NAMES = 40  # of foreign files in a message
_CSV_HEADER = (
    *("table", "row", "group", "column", "unit", "published", "ours", "difference"),
    *("final", "origin", "state", "progress", "config", "config_hash", "config_changed"),
    *("batch", "commit", "environment"),
)
# Packages that the short form of an environment names, by the parts of their names.
_STACK = re.compile(r"python|torch|(onedl-)?(mmengine|mmcv|mmdet\w*|mmseg\w*|mmpretrain)(-lite)?")


@dataclass(frozen=True)
class Report:
    """What is known of tables."""

    tables: Sequence[Table]
    runs: Mapping[Path, Found]  # by config; those that others start from, too
    figures: Mapping[tuple[str, str, str], tuple[float, Measured]]  # by table, row and column
    problems: Sequence[str]  # what else lies among the work directories, or lacks in logs


def collect(
    tables: Mapping[str, Table], chosen: Sequence[Table], work_dirs: Path, own: Path | None = None
) -> Report:
    """Gather what is known of some of all tables.

    ``own`` is a directory in ``work_dirs`` that is no run, such as that of the reports.

    Raises:
        UsageError: A config cannot be read (see :func:`.plan.plan`).
    """
    rows = [(table, row) for table in chosen for row in table.rows]
    found = {training.config: examine(training) for training in plan(tables, rows, work_dirs)}
    figures: dict[tuple[str, str, str], tuple[float, Measured]] = {}
    problems: list[str] = []
    for table, row in rows:
        for run in row.runs:
            for column, metric, measured in _measured(run, found[run.config]):
                if metric.key in measured.values:
                    value = measured.values[metric.key] * metric.scale
                    figures.setdefault((table.key, row.name, column), (value, measured))
                else:
                    has = ", ".join(map(clean, measured.values)) or "nothing"
                    name = run.config.stem
                    problems.append(f"{name}: {measured.origin} has no {metric.key}; it has {has}")
    known = {path.stem for run in all_runs(tables) for path in (run.config, run.needs) if path}
    strangers = [
        clean(path.name)
        for path in list_strangers(work_dirs, known)
        if own is None or os.path.realpath(path) != os.path.realpath(own)
    ]
    if strangers:
        names = listed(strangers, _MOST_NAMES)
        problems.append(f"in {work_dirs}, passed over as it belongs to no table: {names}")
    return Report(chosen, found, figures, list(dict.fromkeys(problems)))


def _measured(run: Run, found: Found) -> Iterator[tuple[str, Metric, Measured]]:
    """The columns of a run and what has measured them, tests first."""
    sources = [(test.metrics, found.tests.get(test.name)) for test in run.tests]
    for metrics, measured in [*sources, (run.metrics, found.validation)]:
        if measured:
            yield from ((column, metric, measured) for column, metric in metrics.items())


def _measured_columns(table: Table) -> list[str]:
    """Columns of a table that runs fill."""
    filled = {column for row in table.rows for run in row.runs for column in run.columns}
    return [column for column in table.columns if column in filled]


def _line(report: Report, table: Table, row: Row, name: str) -> dict[str, Any]:
    """What is known of a cell, by the columns of the CSV.

    Without ``state`` no run fills it, without ``ours`` none has yet.
    """
    line: dict[str, Any] = {"table": table.key, "row": row.name, "group": row.group}
    line |= {"column": name, "unit": table.columns[name].unit}
    if name in row.published:
        line["published"] = row.published[name]
    if found := report.figures.get((table.key, row.name, name)):
        line["ours"], measured = found
        line |= {"final": measured.final, "origin": measured.origin}
        if measured.final and name in row.published:
            line["difference"] = line["ours"] - row.published[name]
    if configs := [run.config for run in row.runs if name in run.columns]:
        run = report.runs[configs[0]]
        facts = {key.replace(" ", "_"): fact for key, fact in _facts(run).items()}
        line |= {key: facts[key] for key in _CSV_HEADER if key in facts}
        line |= {"state": run.state.value, "progress": run.progress}
    return line


def to_csv(report: Report) -> str:
    """Render tables as CSV: a line for each figure, with what it comes from."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _CSV_HEADER, lineterminator="\n")
    writer.writeheader()
    for table in report.tables:
        for row in table.rows:
            for name in _measured_columns(table):
                line = _line(report, table, row, name)
                if "state" in line or "published" in line:
                    rounded = {
                        key: round(line[key], 6) for key in ("ours", "difference") if key in line
                    }
                    writer.writerow(line | rounded)
    return buffer.getvalue()


def to_markdown(report: Report) -> str:
    """Render tables in Markdown: the figures, the runs behind them, and what else was found."""
    time = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    commit = (code_version()["commit"] or "")[:12]
    parts = [f"Collected {time}{f', at commit {commit}' if commit else ''}."]
    for table in report.tables:
        parts += [f"# {table.title}", f"{table.source}.", *_figures(report, table)]
    runs = report.runs.values()
    missing = [run.training.name for run in runs if run.state is State.MISSING]
    lines = [_run(run) for run in runs if run.state is not State.MISSING]
    lines += [f"- missing: {_escape(', '.join(missing))}"] if missing else []
    parts += ["# Runs", "\n".join(lines)]
    problems = [problem for run in runs for problem in run.problems]
    if problems := [*problems, *report.problems]:
        parts += ["# Also found", "\n".join(f"- {_escape(problem)}" for problem in problems)]
    return "\n\n".join(parts) + "\n"


def _figures(report: Report, table: Table) -> Iterator[str]:
    """A table's figures in Markdown, and what they need to be understood.

    ``-`` stands for what is still to be measured; what is not printed and not measured in the row
    is empty. Columns without any printed figure have ours alone.
    """
    names = _measured_columns(table)
    printed = [name for name in names if any(name in row.published for row in table.rows)]
    header = [""]
    for name in names:
        title = table.columns[name].heading
        header += [f"{title}, ours"]
        if name in printed:
            header[-1:] = [f"{title}, {table.reference}", "ours", "difference"]
    cells = []
    for row in table.rows:
        cells.append([f"{row.name} ({row.group})" if row.group else row.name])
        for name in names:
            line = _line(report, table, row, name)
            published, ours, difference = _cells(line)
            cells[-1] += [published, ours, difference] if name in printed else [ours]
        cells[-1].append(", ".join(report.runs[run.config].state.value for run in row.runs))
    yield markdown([*header, "state"], cells, {0, len(header)})
    if any(cell.startswith("(") for line in cells for cell in line[1:]):
        yield "In brackets: measured before the end of the training."


def _cells(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """A cell's published figure, ours, and their difference."""
    form = ".2f" if line["unit"] == "%" else ".4g"
    ours = "-" if "state" in line else ""
    difference = ours if "published" in line else ""
    if "ours" in line:
        ours = f"{line['ours']:{form}}" if line["final"] else f"({line['ours']:{form}})"
    if "difference" in line:
        difference = f"{line['difference']:+{form}}"
    return str(line.get("published", "")), ours, difference


def _run(run: Found) -> str:
    """A run in Markdown: how far it is, and what it was made with."""
    state = [run.state.value]
    if run.state is not State.DONE:
        goes_on = f"goes on from {run.resumes_from}" if run.resumes_from else ""
        state += filter(None, [run.progress, goes_on, run.holder])
    facts = "".join(f"\n  - {key}: {_escape(value)}" for key, value in _facts(run).items() if value)
    return f"- {_escape(run.training.name)}: {_escape(', '.join(state))}{facts}"


def _escape(text: str) -> str:
    """Keep a text from being read as Markdown or HTML."""
    return re.sub(r"([\\|<`*\[])", r"\\\1", " ".join(text.split()))


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
