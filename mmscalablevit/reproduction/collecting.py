"""The figures of tables that runs have measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmscalablevit.errors import listed
from mmscalablevit.reproduction.logs import clean
from mmscalablevit.reproduction.plan import plan
from mmscalablevit.reproduction.published import Metric, Row, Run, Table
from mmscalablevit.reproduction.runs import Found, Measured, examine, list_strangers

_MOST_NAMES = 40  # of foreign files in a message


@dataclass(frozen=True)
class Report:
    """What is known of tables.

    Attributes:
        tables: The tables.
        runs: What there is of their runs, and of those that these start from, by config.
        problems: What else lies among the work directories, or lacks in logs; one message each.
    """

    tables: Sequence[Table]
    runs: Mapping[Path, Found]
    problems: Sequence[str]

    def figure(self, row: Row, column: str) -> tuple[float, Measured] | None:
        """Return the figure of a cell, in the column's unit, and what it is from."""
        for run in row.runs:
            for metrics, measured in _fillings(run, self.runs[run.config]):
                if column in metrics and metrics[column].key in measured.values:
                    metric = metrics[column]
                    return measured.values[metric.key] * metric.scale, measured
        return None


def _fillings(run: Run, found: Found) -> Iterator[tuple[Mapping[str, Metric], Measured]]:
    """The columns of a run that have been measured, each with what has done so, tests first."""
    for test in run.tests:
        if test.name in found.tests:
            yield test.metrics, found.tests[test.name]
    if found.validation:
        yield run.metrics, found.validation


def collect(
    tables: Mapping[str, Table], chosen: Sequence[Table], work_dirs: Path, own: Path | None = None
) -> Report:
    """Gather what is known of tables.

    Args:
        tables: All tables.
        chosen: Those to report.
        work_dirs: Directory of the work directories.
        own: A directory in ``work_dirs`` that is no run, such as that of the reports.

    Raises:
        UsageError: A config cannot be read (see :func:`.plan.plan`).
    """
    rows = [(table, row) for table in chosen for row in table.rows]
    found = {training.config: examine(training) for training in plan(tables, rows, work_dirs)}
    problems = [
        f"{run.config.stem}: {measured.origin} has no {metric.key}; it has "
        f"{', '.join(map(clean, measured.values)) or 'nothing'}"
        for _, row in rows
        for run in row.runs
        for metrics, measured in _fillings(run, found[run.config])
        for metric in metrics.values()
        if metric.key not in measured.values
    ]
    every = [run for table in tables.values() for row in table.rows for run in row.runs]
    known = {path.stem for run in every for path in (run.config, run.needs) if path}
    strangers = [
        clean(path.name)
        for path in list_strangers(work_dirs, known)
        if own is None or os.path.realpath(path) != os.path.realpath(own)
    ]
    if strangers:
        names = listed(strangers, _MOST_NAMES)
        problems.append(f"in {work_dirs}, passed over as it belongs to no table: {names}")
    return Report(chosen, found, list(dict.fromkeys(problems)))
