"""Collected tables as Markdown and CSV, and the files of all forms."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmscalablevit.files import write_whole
from mmscalablevit.reproduction.cells import (
    NOTHING,
    PRELIMINARY,
    all_runs,
    facts,
    figures,
    has_preliminary,
    header,
    now,
    problems,
    states,
)
from mmscalablevit.reproduction.collecting import RunReport, TableReport
from mmscalablevit.reproduction.page import to_html

_CSV_HEADER = (
    *("table", "row", "group", "column", "unit", "published", "ours", "difference"),
    *("final", "origin", "state", "progress", "config", "config_hash", "config_changed"),
    *("batch", "commit", "environment"),
)


def write_reports(reports: Sequence[TableReport], out: Path, name: str) -> list[Path]:
    """Write tables as Markdown, CSV and one web page, each file whole or not at all.

    Args:
        reports: The tables.
        out: Directory of the files.
        name: Name of the files without their suffixes.

    Returns:
        The files.

    Raises:
        OSError: They cannot be written.
    """
    texts = {".md": to_markdown(reports), ".csv": to_csv(reports), ".html": to_html(reports)}
    written = []
    for suffix, text in texts.items():
        path = out / f"{name}{suffix}"
        write_whole(path, text.encode("utf-8", "replace"))
        written.append(path)
    return written


def to_markdown(reports: Sequence[TableReport]) -> str:
    """Render tables in Markdown: the figures, the runs behind them, and what else was found."""
    lines = [f"Collected {now()}."]
    for report in reports:
        lines += ["", f"# {report.table.title}", "", f"{report.table.source}.", ""]
        rows = [
            [
                f"{row.name} ({row.group})" if row.group else row.name,
                *figures(report, row),
                ", ".join(states(report, row)),
            ]
            for row in report.table.rows
        ]
        lines += _markdown_table(["", *header(report), "state"], rows)
    if has_preliminary(reports):
        lines += ["", PRELIMINARY]
    keys = ("state", "commit", "config hash", "config changed", "batch", "environment")
    runs = [run for _, run in all_runs(reports)]
    cells = [[run.training.name, *(facts(run).get(key, NOTHING) for key in keys)] for run in runs]
    lines += ["", "# Runs", "", *_markdown_table(["run", *keys], cells)]
    found = [problem for run in runs for problem in run.problems] + problems(reports)
    if found:
        lines += ["", "# Also found", "", *(f"- {_escape(problem)}" for problem in found)]
    return "\n".join(lines) + "\n"


def _markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_escape, line)) + " |" for line in (titles, *rows)]
    return [lines[0], "|" + " --- |" * len(titles), *lines[1:]]


def _escape(text: str) -> str:
    """Keep a text from being read as Markdown or HTML."""
    for character in "\\|<`*_[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def to_csv(reports: Sequence[TableReport]) -> str:
    """Render tables as CSV: a line for each figure, with what it comes from."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for report in reports:
        for row in report.table.rows:
            for name in report.measured_columns():
                run = report.run_of(row, name)
                published = row.published.get(name)
                if run is None and published is None:
                    continue
                unit = report.table.columns[name].unit
                writer.writerow(
                    [
                        *(report.table.key, row.name, row.group, name, unit),
                        "" if published is None else published,
                        *_csv_figure(run, name, published),
                        *_csv_run(run),
                    ]
                )
    return buffer.getvalue()


def _csv_figure(run: RunReport | None, name: str, published: float | None) -> list[object]:
    figure = run.figures.get(name) if run else None
    if figure is None:
        return [""] * 4
    difference: object = ""
    if figure.final and published is not None:
        difference = round(figure.value - published, 6)
    return [round(figure.value, 6), difference, figure.final, figure.origin]


def _csv_run(run: RunReport | None) -> list[object]:
    if run is None:
        return [""] * 8
    known = facts(run)
    return [
        run.status.state.value,
        run.progress,
        known["config"],
        *(known.get(key, "") for key in ("config hash", "config changed", "batch", "commit")),
        known.get("environment", ""),
    ]
