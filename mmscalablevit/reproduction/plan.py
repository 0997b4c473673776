"""Which runs a table needs, where each lies, and what each needs before it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from mmscalablevit.cli.config import load_config
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.published import Row, Run, Table, Test

_FILE_NAME = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class Schedule:
    """How long a config trains, and on how many GPUs as published.

    Attributes:
        by_epoch: Whether its length is in epochs; in iterations otherwise.
        length: Number of epochs or iterations.
        batch_size: Images per GPU.
        gpus: Number of GPUs that the config's learning rate is for.
    """

    by_epoch: bool
    length: int
    batch_size: int
    gpus: int

    @property
    def unit(self) -> str:
        """What the length counts."""
        return "epoch" if self.by_epoch else "iteration"

    @property
    def final_checkpoint(self) -> str:
        """Name of the file that the last epoch or iteration leaves."""
        return f"{'epoch' if self.by_epoch else 'iter'}_{self.length}.pth"


@dataclass(frozen=True)
class Training:
    """One training run behind one or several rows.

    Attributes:
        run: The run as the table has it.
        labels: Rows that it stands behind; none if others merely start from its weights.
        work_dir: Its work directory.
        schedule: Its length and GPUs.
        cfg: Its config, as merged.
        needs: The run whose weights it starts from, or None.
        weights_key: The config's entry that names the file of these weights; empty without any.
        released: The file that the config itself names there, or None.
    """

    run: Run
    labels: tuple[str, ...]
    work_dir: Path
    schedule: Schedule
    cfg: Config
    needs: Training | None
    weights_key: str
    released: Path | None

    @property
    def name(self) -> str:
        """Name of the config without its suffix, and of the work directory."""
        return self.run.config.stem

    @property
    def final(self) -> Path:
        """The checkpoint after the last epoch or iteration."""
        return self.work_dir / self.schedule.final_checkpoint

    def test_dir(self, test: Test) -> Path:
        """Return the work directory of one of the run's tests."""
        return self.work_dir / test.name


def read_schedule(config: Path, cfg: Config) -> Schedule:
    """Read how long a config trains and for how many GPUs it is.

    The number of GPUs follows from the total batch that the learning rate is for
    (``auto_scale_lr.base_batch_size``), or else from the name (``..._8xb128_...``).

    Raises:
        UsageError: The config trains nothing, or says nothing of the GPUs.
    """
    train_cfg, loader = cfg.get("train_cfg"), cfg.get("train_dataloader")
    if not isinstance(train_cfg, dict) or not isinstance(loader, dict):
        raise UsageError(f"config {config} has no train_cfg or no train_dataloader")
    by_epoch = train_cfg.get("max_epochs") is not None
    length = train_cfg.get("max_epochs") or train_cfg.get("max_iters")
    batch_size = loader.get("batch_size")
    if not isinstance(length, int) or not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(
            f"config {config}: its train_cfg needs max_epochs or max_iters, and its "
            "train_dataloader a batch_size"
        )
    auto_scale_lr = cfg.get("auto_scale_lr")
    total = auto_scale_lr.get("base_batch_size") if isinstance(auto_scale_lr, dict) else None
    in_name = re.search(r"(\d+)xb(\d+)", config.stem)
    if total is None and in_name and int(in_name[2]) == batch_size:
        total = int(in_name[1]) * batch_size
    if not isinstance(total, int) or total < batch_size or total % batch_size:
        raise UsageError(
            f"config {config} does not say for how many GPUs it is; set "
            "auto_scale_lr = dict(base_batch_size=...) to a multiple of the batch size "
            f"{batch_size}"
        )
    return Schedule(by_epoch, length, batch_size, total // batch_size)


def select_rows(
    tables: Sequence[Table], names: Sequence[str] | None = None
) -> list[tuple[Table, Row]]:
    """Choose rows by name.

    Args:
        tables: Tables to look in.
        names: Names of rows in any case; None for all that have runs.

    Returns:
        Each row with its table; a name can be that of a row in several tables.

    Raises:
        UsageError: A name is unknown (near ones are offered), or its row has no runs.
    """
    every = [(table, row) for table in tables for row in table.rows]
    ours = [(table, row) for table, row in every if row.runs]
    if not names:
        return ours
    folded = {name.casefold() for name in names}
    for name in names:
        if not any(row.name.casefold() == name.casefold() for _, row in ours):
            keys = ", ".join(table.key for table in tables)
            if any(row.name.casefold() == name.casefold() for _, row in every):
                raise UsageError(f"{name} is in table {keys} for comparison: it has no runs here")
            known = list(dict.fromkeys(row.name for _, row in ours))
            near = difflib.get_close_matches(name, known, n=3) or known
            raise UsageError(f"table {keys} has no row {name}; there is {', '.join(near)}")
    return [(table, row) for table, row in ours if row.name.casefold() in folded]


def pretrained_weights(config: Path, cfg: Config) -> tuple[str, Path | None]:
    """Find the weights that a config starts from: the whole model's, or else its backbone's.

    Returns:
        The entry that names their file, and the file, whether it is there or not; None where the
        config names an address.

    Raises:
        UsageError: The config has no place for pretrained weights.
    """
    backbone = cfg.model.get("backbone") if isinstance(cfg.model, dict) else None
    init_cfg = backbone.get("init_cfg") if isinstance(backbone, dict) else None
    if cfg.get("load_from"):
        key, checkpoint = "load_from", str(cfg.load_from)
    elif isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
        key = "model.backbone.init_cfg.checkpoint"
        checkpoint = str(init_cfg.get("checkpoint", "://"))
    else:
        raise UsageError(
            f"config {config} is to start from another run's weights; it needs load_from=..., or "
            "its backbone init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
        )
    return key, None if "://" in checkpoint else Path(checkpoint)


def plan(
    tables: Mapping[str, Table], rows: Sequence[tuple[Table, Row]], work_dirs: Path
) -> list[Training]:
    """List the trainings behind rows, each after the one whose weights it starts from.

    Args:
        tables: All tables: what a row needs may be the run of another one.
        rows: Rows with their tables.
        work_dirs: Directory of the work directories.

    Raises:
        UsageError: A config cannot be read or does not say for how many GPUs it is, two configs
            share a name and so a work directory, or runs need each other in a circle.
    """
    planner = _Planner(tables, rows, work_dirs)
    for _, row in rows:
        for run in row.runs:
            planner.add(run.config)
    return list(planner.planned.values())


class _Planner:
    """Follows what runs need, and makes each training once."""

    def __init__(
        self, tables: Mapping[str, Table], rows: Sequence[tuple[Table, Row]], work_dirs: Path
    ) -> None:
        self.work_dirs = work_dirs
        self.planned: dict[Path, Training] = {}
        self.labels: dict[Path, list[str]] = {}
        everywhere = [row for table in tables.values() for row in table.rows]
        self.runs = {run.config: run for row in everywhere for run in row.runs}
        for table, row in rows:
            for run in row.runs:
                first = run.config not in self.labels
                self.runs[run.config] = run if first else _join(self.runs[run.config], run)
                self.labels.setdefault(run.config, []).append(f"{row.name} of table {table.key}")

    def add(self, config: Path, dependents: tuple[Path, ...] = ()) -> Training:
        if config in self.planned:
            return self.planned[config]
        if config in dependents:
            circle = " needs ".join(path.name for path in (*dependents, config))
            raise UsageError(f"runs need each other in a circle: {circle}")
        run = self.runs.get(config) or Run(config, None, {}, ())
        needs = self.add(run.needs, (*dependents, config)) if run.needs else None
        for test in run.tests:
            if not _FILE_NAME.fullmatch(test.name) or test.name in (".", ".."):
                raise UsageError(
                    f"{config.name}: the name of test {test.name!r} becomes a directory's; it "
                    "takes letters, digits and _.+- only"
                )
        if other := next((path for path in self.planned if path.stem == config.stem), None):
            raise UsageError(
                f"{other} and {config} have the same name and so would share a work directory; "
                "rename one of them"
            )
        cfg = load_config(str(config))
        schedule = read_schedule(config, cfg)
        weights_key, released = pretrained_weights(config, cfg) if needs else ("", None)
        self.planned[config] = Training(
            run=run,
            labels=tuple(self.labels.get(config, ())),
            work_dir=self.work_dirs / config.stem,
            schedule=schedule,
            cfg=cfg,
            needs=needs,
            weights_key=weights_key,
            released=released,
        )
        return self.planned[config]


def _join(first: Run, second: Run) -> Run:
    """Join what two tables want of the same run."""
    tests = {test.name: test for test in first.tests}
    for test in second.tests:
        known = tests.setdefault(test.name, test)
        if known.arguments != test.arguments:
            raise UsageError(
                f"{first.config.name} has two tests with the name {test.name}: "
                f"{' '.join(known.arguments)} and {' '.join(test.arguments)}; rename one"
            )
        tests[test.name] = replace(known, metrics={**test.metrics, **known.metrics})
    return replace(
        first,
        needs=first.needs or second.needs,
        metrics={**second.metrics, **first.metrics},
        tests=tuple(tests.values()),
    )
