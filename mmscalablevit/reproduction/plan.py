"""Which trainings tables need, where each lies, and what each needs before it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscalablevit.cli.config import load_config
from mmscalablevit.cli.provenance import config_content
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.published import Row, Run, Table, Test

_FILE_NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class Schedule:
    """How long a config trains, and on how many GPUs as published."""

    by_epoch: bool
    length: int  # in epochs, or else in iterations
    batch_size: int  # of one GPU
    gpus: int

    @property
    def unit(self) -> str:
        """What the length counts."""
        return "epoch" if self.by_epoch else "iteration"


@dataclass(frozen=True)
class Training:
    """One training run behind one or several rows."""

    config: Path
    content: Mapping[str, Any]  # what the config trains, from cli.provenance.config_content
    schedule: Schedule
    work_dir: Path
    labels: tuple[str, ...]  # of its rows; none if others merely start from its weights
    validated: bool  # whether its validation fills columns of these rows
    tests: tuple[Test, ...]  # of its final checkpoint, that fill others
    needs: Training | None  # the one whose weights it starts from
    weights_key: str  # the config's entry that names their file; empty without any
    released: Path | None  # the file that the config itself names there

    @property
    def name(self) -> str:
        """Name of the config without its suffix, and of the work directory."""
        return self.config.stem

    @property
    def final(self) -> Path:
        """The checkpoint after the last epoch or iteration."""
        kind = "epoch" if self.schedule.by_epoch else "iter"
        return self.work_dir / f"{kind}_{self.schedule.length}.pth"


def read_schedule(config: Path, cfg: Config) -> Schedule:
    """Read how long a config trains and for how many GPUs it is.

    The number of GPUs follows from the total batch that the learning rate is for
    (``auto_scale_lr.base_batch_size``), or else from the name (``..._8xb128_...``).

    Raises:
        UsageError: The config trains nothing, or says nothing of the GPUs.
    """
    train_cfg, loader, scaling = (
        entry if isinstance(entry := cfg.get(key), dict) else {}
        for key in ("train_cfg", "train_dataloader", "auto_scale_lr")
    )
    by_epoch = train_cfg.get("max_epochs") is not None
    length = train_cfg.get("max_epochs") or train_cfg.get("max_iters")
    batch_size = loader.get("batch_size")
    if not isinstance(length, int) or not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(
            f"config {config}: it needs a train_cfg with max_epochs or max_iters, and a "
            "train_dataloader with a batch_size"
        )
    total = scaling.get("base_batch_size")
    in_name = re.search(rf"(\d+)xb{batch_size}(?!\d)", config.stem)
    if total is None and in_name:
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
    """Choose rows that have runs, each with its table, by name in any case; None for all.

    Raises:
        UsageError: No row with runs has a name; near ones are offered.
    """
    ours = [(table, row) for table in tables for row in table.rows if row.runs]
    known = {row.name.casefold(): row.name for _, row in ours}
    for name in names or ():
        if name.casefold() not in known:
            near = difflib.get_close_matches(name, known.values(), n=3) or known.values()
            keys = ", ".join(table.key for table in tables)
            raise UsageError(
                f"table {keys} has no row {name} that has runs here; there is {', '.join(near)}"
            )
    wanted = {name.casefold() for name in names or known}
    return [(table, row) for table, row in ours if row.name.casefold() in wanted]


def all_runs(tables: Mapping[str, Table]) -> list[Run]:
    """List the runs behind all rows of tables."""
    return [run for table in tables.values() for row in table.rows for run in row.runs]


def plan(
    tables: Mapping[str, Table], rows: Sequence[tuple[Table, Row]], work_dirs: Path
) -> list[Training]:
    """List the trainings behind rows, each after the one whose weights it starts from.

    That may be the run of another table: ``tables`` are all of them.

    Raises:
        UsageError: A config cannot be read or does not say for how many GPUs it is, two configs
            share a name and so a work directory, or runs need each other in a circle.
    """
    needs = {run.config: run.needs for run in all_runs(tables) if run.needs}
    wanted: dict[Path, dict[str, Run]] = {}
    for table, row in rows:
        for run in row.runs:
            wanted.setdefault(run.config, {})[f"{row.name} of table {table.key}"] = run
    planned: dict[Path, Training] = {}

    def add(config: Path, before: tuple[Path, ...] = ()) -> Training:
        if config in before:
            circle = " needs ".join(path.name for path in (*before, config))
            raise UsageError(f"runs need each other in a circle: {circle}")
        if config not in planned:
            first = add(needs[config], (*before, config)) if config in needs else None
            planned[config] = _training(config, wanted.get(config, {}), first, work_dirs)
        return planned[config]

    for config in wanted:
        add(config)
    names: dict[str, Path] = {}
    for config in planned:
        if (other := names.setdefault(config.stem, config)) != config:
            raise UsageError(
                f"{other} and {config} have the same name and so would share a work directory; "
                "rename one of them"
            )
    return list(planned.values())


def _training(
    config: Path, runs: Mapping[str, Run], needs: Training | None, work_dirs: Path
) -> Training:
    """Read a training's config, and what the rows behind the labels want of it."""
    cfg = load_config(str(config))
    weights_key, released = _pretrained_weights(config, cfg) if needs else ("", None)
    return Training(
        config=config,
        content=config_content(cfg.to_dict()),
        schedule=read_schedule(config, cfg),
        work_dir=work_dirs / config.stem,
        labels=tuple(runs),
        validated=any(run.metrics for run in runs.values()),
        tests=_tests(config, runs.values()),
        needs=needs,
        weights_key=weights_key,
        released=released,
    )


def _tests(config: Path, runs: Iterable[Run]) -> tuple[Test, ...]:
    """List the tests that rows want of a training."""
    tests: dict[str, Test] = {}
    for test in (test for run in runs for test in run.tests):
        if not _FILE_NAME.fullmatch(test.name):
            raise UsageError(
                f"{config.name}: the name of test {test.name!r} becomes a directory's; it takes "
                "letters, digits and _.+- only"
            )
        if tests.setdefault(test.name, test).arguments != test.arguments:
            raise UsageError(f"{config.name} has two tests with the name {test.name}; rename one")
    return tuple(tests.values())


def _pretrained_weights(config: Path, cfg: Config) -> tuple[str, Path | None]:
    """Find the entry that names the weights a config starts from, and their file.

    These are the whole model's, or else its backbone's; without a file where it is an address.

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
