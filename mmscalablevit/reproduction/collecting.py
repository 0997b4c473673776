"""What is known of each run of a table: figures, progress, and what they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscalablevit.cli.provenance import FILE_NAME, config_content, config_hash, differences
from mmscalablevit.reproduction.changes import trained_contents
from mmscalablevit.reproduction.logs import (
    Curve,
    DamagedFileError,
    newest_checkpoint,
    read_curve,
    read_metrics,
    read_object,
    starts,
    whole_number,
)
from mmscalablevit.reproduction.plan import Training, plan
from mmscalablevit.reproduction.published import Metric, Row, Run, Table
from mmscalablevit.reproduction.state import (
    State,
    Status,
    examine,
    final_validation,
    progress,
    validation_test,
)

_LONGEST = 300  # characters of a text that a foreign file may bring into the tables

_MOST_NAMES = 40  # of foreign files in a message

# Packages that the short form of an environment names, by the parts of their names.
_STACK = re.compile(r"python|torch|(onedl-)?(mmengine|mmcv|mmdet\w*|mmseg\w*|mmpretrain)(-lite)?")


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        value: In the column's unit.
        final: Whether it is of the final checkpoint.
        origin: Where it is from, such as ``validation at epoch 20``.
    """

    value: float
    final: bool
    origin: str


@dataclass(frozen=True)
class Origin:
    """What a start of a run was made with; empty texts where it is not known.

    Attributes:
        time: When it began.
        commit: Commit of the code, with a remark if files were changed.
        command: Command line.
        versions: Versions by name of the package.
        device: Number and kind of the devices.
        processes: Number of processes; 0 where it is not known.
        batch_size: Images of each process; 0 where it is not known.
    """

    time: str = ""
    commit: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    processes: int = 0
    batch_size: int = 0

    @property
    def environment(self) -> str:
        """Devices and the most important versions, in a line."""
        stack = [f"{name} {v}" for name, v in self.versions.items() if _STACK.fullmatch(name)]
        return ", ".join([self.device, *stack] if self.device else stack)


@dataclass(frozen=True)
class RunReport:
    """What is known of a training.

    Attributes:
        training: The training.
        status: How far it is.
        progress: How far its log goes, such as ``epoch 37/300``; empty where there is none.
        resumes_from: Name of its newest checkpoint, if it is interrupted.
        curve: Its log.
        figures: Measured figures by column.
        origins: What its starts were made with, in their order.
        config_hash: Hash of the config that it was trained with; empty where it is not known.
        changes: What differs between that config and the present one.
        problems: What could not be read or is foreign, one message each.
    """

    training: Training
    status: Status
    progress: str
    resumes_from: str
    curve: Curve
    figures: Mapping[str, Figure]
    origins: Sequence[Origin]
    config_hash: str
    changes: Sequence[str]
    problems: Sequence[str]

    @property
    def batch(self) -> str:
        """Devices x images of each, and the published ones where these are others."""
        schedule = self.training.schedule
        known = [origin for origin in self.origins if origin.processes and origin.batch_size]
        used = dict.fromkeys(f"{origin.processes} x {origin.batch_size}" for origin in known)
        published = f"{schedule.gpus} x {schedule.batch_size}"
        text = ", then ".join(used)
        return text if not used or text == published else f"{text} instead of {published}"

    @property
    def state(self) -> str:
        """State and progress in words."""
        parts = [self.status.state.value]
        if self.status.state is not State.DONE:
            parts += [self.progress] if self.progress else []
            parts += [f"goes on from {self.resumes_from}"] if self.resumes_from else []
            parts += [self.status.remark] if self.status.remark else []
        return ", ".join(parts)


@dataclass(frozen=True)
class TableReport:
    """What is known of a table.

    Attributes:
        table: The table.
        runs: Reports by config, in the order in which the runs can be made.
        problems: What else lies in the work directories, one message each.
    """

    table: Table
    runs: Mapping[Path, RunReport]
    problems: Sequence[str]

    def run_of(self, row: Row, column: str) -> RunReport | None:
        """Return the run that fills a cell; None if no run does."""
        for run in row.runs:
            if column in _columns(run):
                return self.runs[run.config]
        return None

    def figure(self, row: Row, column: str) -> Figure | None:
        """Return what was measured for a cell; None if nothing was."""
        run = self.run_of(row, column)
        return run.figures.get(column) if run else None

    def measured_columns(self) -> list[str]:
        """Columns that runs fill."""
        filled = {column for row in self.table.rows for run in row.runs for column in _columns(run)}
        return [column for column in self.table.columns if column in filled]


def _columns(run: Run) -> set[str]:
    """Columns that a run and its tests fill."""
    return set(run.metrics).union(*(test.metrics for test in run.tests))


def collect(
    tables: Mapping[str, Table],
    chosen: Sequence[Table],
    work_dirs: Path,
    jobs: Mapping[str, str] | None,
    own: Path | None = None,
) -> list[TableReport]:
    """Gather what is known of tables.

    Args:
        tables: All tables.
        chosen: Those to report.
        work_dirs: Directory of the work directories.
        jobs: Slurm's jobs, from :func:`.state.slurm_jobs`.
        own: A directory in ``work_dirs`` that is no run, such as that of the reports.

    Raises:
        UsageError: A config cannot be read (see :func:`.plan.plan`).
    """
    every = [(table, row) for table in chosen for row in table.rows]
    reports: dict[Path, RunReport] = {}
    for training in plan(tables, every, work_dirs):
        reports[training.run.config] = _report(training, jobs)
    problems = _foreign(tables, work_dirs, own)
    return [TableReport(table, _of_table(table, reports), problems) for table in chosen]


def _of_table(table: Table, reports: Mapping[Path, RunReport]) -> dict[Path, RunReport]:
    """Choose the runs of a table, and those that these start from."""
    needed: set[Path] = set()
    for row in table.rows:
        for run in row.runs:
            training: Training | None = reports[run.config].training
            while training:
                needed.add(training.run.config)
                training = training.needs
    return {config: report for config, report in reports.items() if config in needed}


def _foreign(tables: Mapping[str, Table], work_dirs: Path, own: Path | None) -> list[str]:
    """Name what lies between the work directories and belongs to no table."""
    known = set()
    for table in tables.values():
        for row in table.rows:
            for run in row.runs:
                known |= {run.config.stem, run.needs.stem if run.needs else ""}
    try:
        paths = sorted(path for path in work_dirs.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    ours = os.path.realpath(own) if own else None
    names = [p.name for p in paths if p.name not in known and os.path.realpath(p) != ours]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    listed = ", ".join(map(_clean, names[:_MOST_NAMES])) + more
    return [f"in {work_dirs}, passed over as it belongs to no table: {listed}"] if names else []


def _report(training: Training, jobs: Mapping[str, str] | None) -> RunReport:
    """Gather what is known of a training."""
    work_dir = training.work_dir
    status = examine(training, jobs)
    curve = read_curve(work_dir)
    newest, unreadable = newest_checkpoint(work_dir)
    contents, config_problems = trained_contents(work_dir)
    origins, origin_problems = _origins(work_dir)
    figures, figure_problems = _figures(training, curve, status.state is State.DONE)
    now = config_content(training.cfg.to_dict())
    changes = dict.fromkeys(change for old in contents for change in differences(old, now))
    interrupted = status.state is State.INTERRUPTED
    begun = status.state is not State.MISSING and bool(curve.train or starts(work_dir))
    return RunReport(
        training=training,
        status=status,
        progress=progress(training.schedule, curve) if begun else "",
        resumes_from=newest.name if interrupted and newest else "",
        curve=curve,
        figures=figures,
        origins=origins,
        config_hash=config_hash(contents[-1]) if contents else "",
        changes=list(changes),
        problems=[
            *curve.problems,
            *unreadable,
            *config_problems,
            *origin_problems,
            *figure_problems,
            *_strangers(training),
        ],
    )


def _strangers(training: Training) -> list[str]:
    """Name the directories in a work directory that are neither starts nor tests."""
    known = {test.name for test in training.run.tests} | {validation_test(training).name}
    known |= {path.name for path in starts(training.work_dir)}
    try:
        paths = sorted(path for path in training.work_dir.iterdir() if path.is_dir())
    except OSError:
        return []
    return [
        f"{path}: neither a start of the run nor one of its tests, passed over"
        for path in paths
        if path.name not in known and not path.name.startswith(".")
    ]


def _figures(training: Training, curve: Curve, done: bool) -> tuple[dict[str, Figure], list[str]]:
    """Read the measured figures of a training and of its tests."""
    work_dir = training.work_dir
    figures: dict[str, Figure] = {}
    problems: list[str] = []
    unit = training.schedule.unit
    tests = list(training.run.tests)
    validation = final_validation(training, curve) if done else None
    if done and validation is None and training.run.metrics:
        tests.append(validation_test(training))
    last = validation or (curve.val[-1] if curve.val else None)
    if last:
        name = f"validation at {unit} {last.step}"
        values = {key: value for key, value in last.values.items() if key != "step"}
        problems += _fill(figures, training.run.metrics, values, validation is not None, name)
    for test in tests:
        path = training.test_dir(test) / "metrics.json"
        try:
            results = read_metrics(path, training.final.name)
        except DamagedFileError as error:
            problems.append(str(error))
            continue
        if results is not None:
            problems += _fill(figures, test.metrics, results, done, f"test {test.name}")
    if done and any(not figures[name].final for name in training.run.metrics if name in figures):
        problems.append(f"{work_dir}: the last validation is lost; launch again to make up for it")
    return figures, problems


def _fill(
    figures: dict[str, Figure],
    metrics: Mapping[str, Metric],
    values: Mapping[str, float],
    final: bool,
    origin: str,
) -> list[str]:
    """Add figures; return what is missing."""
    missing = []
    for column, metric in metrics.items():
        if metric.key in values:
            figures[column] = Figure(values[metric.key] * metric.scale, final, origin)
        else:
            there = ", ".join(_clean(key) for key in values) or "nothing"
            missing.append(f"{origin} has no {metric.key}; it has {there}"[:_LONGEST])
    return missing


def _origins(work_dir: Path) -> tuple[list[Origin], list[str]]:
    """Read what the starts of a run were made with."""
    origins, problems = [], []
    for start in starts(work_dir):
        try:
            content = read_object(start / FILE_NAME)
        except DamagedFileError as error:
            problems.append(str(error))
            content = None
        if content is not None:
            origins.append(_origin(content))
        elif os.path.exists(start / "vis_data" / "scalars.json"):
            origins.append(_origin_from_log(start / f"{start.name}.log"))
    return origins, problems


def _origin(content: Mapping[str, Any]) -> Origin:
    commit = _clean(content.get("commit"))[:12]
    if commit and content.get("dirty"):
        commit += " with changes"
    processes = whole_number(content.get("processes")) or 0
    device = _clean(content.get("device"))
    if device:
        device = f"{processes or '?'} x {device}"
    versions = content.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    return Origin(
        time=_clean(content.get("started")),
        commit=commit,
        command=_clean(content.get("command"), 10 * _LONGEST),
        versions={_clean(name): _clean(version) for name, version in versions.items()},
        device=device,
        processes=processes,
        batch_size=whole_number(content.get("batch_size")) or 0,
    )


def _origin_from_log(path: Path) -> Origin:
    """Read versions from the beginning of MMEngine's own log, which runs by other tools have."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(100_000).partition("Runtime environment:")[0]
    except OSError:
        return Origin()
    names = {"Python": "python", "PyTorch": "torch", "MMEngine": "mmengine", "GPU 0": "device"}
    found = {
        names[name]: _clean(value.split(" (")[0])
        for name, value in re.findall(r"^ {4}([\w ]+?)(?:,[\d,]+)?: (.*)$", head, re.MULTILINE)
        if name in names
    }
    device = found.pop("device", "")
    return Origin(versions=found, device=device)


def _clean(value: object, longest: int = _LONGEST) -> str:
    """Return a value from a foreign file as one line of text of limited length."""
    if value is None or not isinstance(value, (str, int, float)):
        return ""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."
