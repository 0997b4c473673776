"""Everything that can be known of a training before it waits in a queue: ``tools/preflight.py``.

Nothing is written: no Runner is built, since that makes a work directory, and no hook runs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmscalablevit.checks import weights
from mmscalablevit.checks.classes import (
    inner_datasets,
    loader_classes,
    numbering_findings,
    trained_classes,
)
from mmscalablevit.checks.datasets import config_findings
from mmscalablevit.checks.failures import explain
from mmscalablevit.checks.images import image_findings
from mmscalablevit.checks.samples import label_findings, loader_findings
from mmscalablevit.checks.token_labels import token_label_findings
from mmscalablevit.cli import amp, config
from mmscalablevit.cli.building import build_model
from mmscalablevit.environment import report
from mmscalablevit.errors import FAILURES, Finding, UsageError, first_line, listed
from mmscalablevit.preflight.training import learning_rate_finding, step_findings


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        config: Path of the config.
        checkpoint: Checkpoint to start or to test from, if there is one.
        gpus: Processes of the training to come.
        images: How many images of each data set to read.
        work_dir: The training's work directory, which is only looked at.
        cfg_options: Changes to the config.
    """

    config: str
    checkpoint: str | None = None
    gpus: int = 1
    images: int = 32
    work_dir: str | None = None
    cfg_options: Mapping[str, Any] = field(default_factory=dict)


def examine(options: Options) -> Iterator[Finding]:
    """Examine all that a training needs.

    Args:
        options: What to examine.

    Yields:
        The findings, as soon as each is known.
    """
    yield from summarize_environment(report())
    try:
        cfg = config.load_config(options.config, dict(options.cfg_options))
        config.set_work_dir(cfg, options.config, options.work_dir)
        if cfg.get("optim_wrapper"):
            amp.fit_to_device(cfg)
        weights.check_backbone(cfg, weights=False)
    except UsageError as error:
        yield Finding("config", "fail", *split_remedy(str(error)))
        return
    init_default_scope(cfg.get("default_scope", "mmengine"))
    loaders: dict[str, DataLoader] = {}
    yield from examine_data(cfg, options, loaders)
    yield from pretrained_findings(cfg.model)
    try:
        model = build_model(cfg).to(get_device())
    except FAILURES as error:
        mend = f"{first_line(error)}\nmend what it names in the config's model"
        message = explain(error, options.config, cfg) or mend
        yield Finding("model", "fail", *split_remedy(message))
        return
    total = sum(parameter.numel() for parameter in model.parameters())
    yield Finding("model", "ok", f"{type(model).__name__}, {total / 1e6:.2f} M parameters")
    if options.checkpoint:
        classes = loader_classes(loaders)
        yield from checkpoint_findings(model, options.checkpoint, "checkpoint", classes)
    elif cfg.get("load_from"):
        yield from checkpoint_findings(model, cfg.load_from, "load_from")
    if cfg.get("train_dataloader") and cfg.get("train_cfg"):
        yield learning_rate_finding(cfg, options.gpus)
        yield from step_findings(cfg, model, loaders, options.gpus)


def summarize_environment(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Take what is wrong with the environment over, and the versions in one line."""
    names = ("torch", "mmengine", "mmcv", "mmdet", "mmseg", "mmpretrain", "CUDA")
    by_name = {finding.name: finding for finding in findings if finding.status == "ok"}
    versions = [f"{name} {by_name[name].found}" for name in names if name in by_name]
    for finding in findings:
        if finding.status != "ok":
            found = f"{finding.name}: {finding.found}"
            yield Finding("environment", finding.status, found, finding.remedy)
    if all(finding.status != "fail" for finding in findings):
        yield Finding("environment", "ok", ", ".join(versions))


def examine_data(
    cfg: Config, options: Options, loaders: dict[str, DataLoader]
) -> Iterator[Finding]:
    """Examine the data of each split; the loaders that can be built are added to ``loaders``."""
    for split in ("train", "val", "test"):
        key = f"{split}_dataloader"
        if cfg.get(key) is None or (split == "test" and cfg.get("val_dataloader") == cfg[key]):
            continue
        findings = list(config_findings(cfg, split))
        yield from findings
        if any(finding.name in (f"{split} files", f"{split} annotations") for finding in findings):
            continue  # it cannot be built
        try:
            loader = build_loader(cfg, key)
            alone = not loaders and split == "test" and not options.checkpoint
            yield from loader_findings(cfg.model, split, loader, alone)
            for dataset in inner_datasets(loader.dataset):
                yield from label_findings(cfg.model, split, dataset)
                yield from image_findings(cfg, split, dataset, options.images)
                yield from token_label_findings(cfg.model, split, dataset, options.images)
        except FAILURES as error:
            mend = f"{first_line(error)}\nmend what it names in {key}, or in the files"
            message = explain(error, options.config, cfg) or mend
            yield Finding(f"{split} data", "fail", *split_remedy(message))
            continue
        if len(loader):
            loaders[split] = loader
    yield from numbering_findings(loader_classes(loaders))


def build_loader(cfg: Config, key: str) -> DataLoader:
    """Build a data loader of the config that reads in this process."""
    settings = {**cfg[key], "num_workers": 0, "persistent_workers": False}
    for of_workers in ("prefetch_factor", "multiprocessing_context", "pin_memory"):
        settings.pop(of_workers, None)
    return Runner.build_dataloader(settings, seed=0)


def pretrained_findings(model: ConfigDict) -> Iterator[Finding]:
    """Check the pretrained weights that a config starts from.

    Entries that cannot be used are taken out of the config, so that the model can be built for
    the other checks.
    """
    settings = model.get("backbone") or ConfigDict()
    backbone = weights.build_backbone(settings)
    entries = settings.get("init_cfg") or []
    entries = [entries] if isinstance(entries, Mapping) else entries
    files = [entry.checkpoint for entry in entries if entry.get("type") == "Pretrained"]
    if backbone is None or not files:
        return
    try:
        fillings = weights.read_pretrained(backbone)
    except UsageError as error:
        settings.init_cfg = None
        yield Finding("weights", "fail", *split_remedy(str(error)))
        return
    fresh = [name for filling in fillings for name in filling.fresh]
    entries = backbone.state_dict()
    numbers = sum(value.numel() for value in entries.values())
    filled = sum(value.numel() for name, value in entries.items() if name not in fresh)
    found = (
        f"{', '.join(files)} fills {len(entries) - len(fresh)} of the backbone's {len(entries)} "
        f"entries, {filled / numbers:.1%} of its weights"
    )
    if fresh:
        found += "; the norms of maps that a classifier does not output start anew"
    yield Finding("weights", "ok", found)


def checkpoint_findings(
    model: BaseModel,
    path: str,
    name: str,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Finding]:
    """Compare a checkpoint with the model, and what it was trained on with the data sets.

    Args:
        model: The model.
        path: The checkpoint.
        name: What to call it.
        classes: What :func:`.loader_classes` gives; None if the checkpoint is one to start from:
            its backbone has to fit, whatever it was trained on.
    """
    try:
        checkpoint = weights.read_weights(path)
    except UsageError as error:
        yield Finding(name, "fail", *split_remedy(str(error)))
        return
    if checkpoint is None:
        yield Finding(name, "warn", f"{path} is not fetched here", "copy it to a local file")
        return
    expected, saved, names = weights.fitting_entries(model, checkpoint)
    fitting = set(names)
    numbers = sum(value.numel() for value in expected.values())
    share = sum(expected[key].numel() for key in fitting) / max(1, numbers)
    found = f"{path} fills {len(fitting)} of {len(expected)} entries, {share:.1%} of the weights"
    lacking = [
        f"{key} ({tuple(saved[key].shape)}, the model has {tuple(expected[key].shape)})"
        if key in saved
        else key
        for key in expected
        if key not in fitting and (classes is not None or key.startswith("backbone."))
    ]
    if lacking:
        remedy = "name the config that it was trained with, or the checkpoint of this config"
        yield Finding(name, "fail", f"{found}; not {listed(lacking, 3)}", remedy)
    else:
        yield Finding(name, "ok", found)
    trained = trained_classes(checkpoint.content)
    if classes and trained:
        first = next(iter(classes))
        yield from numbering_findings({first: classes[first], "checkpoint": trained})


def split_remedy(message: str) -> tuple[str, str]:
    """Part an error's message from what it says to do, which follows on lines of its own."""
    found, _, remedy = message.partition("\n")
    return found, " ".join(remedy.split()) or "correct it in the config or on the command line"


def render(finding: Finding, width: int = 100) -> str:
    """Lay a finding out as a row of the table, with what to do below it."""
    status = {"ok": "ok", "warn": "warn", "fail": "FAIL"}[finding.status]
    start = f"{finding.name:<17} {status:<5} "
    rows = wrap(finding.found, start, width)
    if finding.remedy and finding.status != "ok":
        rows += wrap(finding.remedy, " " * len(start) + "-> ", width)
    return "\n".join(rows)


def wrap(text: str, start: str, width: int) -> list[str]:
    """Break a text into indented lines; paths and options stay whole, so as to be copied."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
        break_long_words=False,
    )
