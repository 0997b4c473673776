"""What a config says of its data, and whether it is there: known before anything is built."""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscalablevit.checks import require
from mmscalablevit.checks.annotations import coco_findings
from mmscalablevit.checks.configs import (
    class_names,
    dataset_class,
    named_datasets,
    named_evaluators,
)
from mmscalablevit.checks.evaluators import evaluator_findings
from mmscalablevit.checks.failures import dicts
from mmscalablevit.checks.label_maps import head_findings
from mmscalablevit.checks.voc import voc_findings
from mmscalablevit.errors import Finding, listed
from mmscalablevit.evaluation.selection import type_name

# MMEngine's recorders of losses and pictures, and the package that each imports.
RECORDERS = {
    "TensorboardVisBackend": "tensorboard",
    "WandbVisBackend": "wandb",
    "MLflowVisBackend": "mlflow",
    "ClearMLVisBackend": "clearml",
    "NeptuneVisBackend": "neptune",
    "DVCLiveVisBackend": "dvclive",
    "AimVisBackend": "aim",
}


def require_data(cfg: Config, *loaders: str) -> None:
    """Check that the data of some loaders lie where the config says, annotated as it says.

    Raises:
        UsageError: They do not.
    """
    for loader in loaders:
        require(config_findings(cfg, loader.removesuffix("_dataloader")))


def config_findings(cfg: Config, split: str) -> Iterator[Finding]:
    """Examine the data that a split names, without building it.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Yields:
        What is missing; where nothing is, what the annotation files and folders have, and whether
        the evaluators fit. Of a training, parts of the config that the Runner would miss, and heads
        that cannot learn.
    """
    if split == "train":
        yield from part_findings(cfg)
        yield from head_findings(cfg)
    missing = list(file_findings(cfg, split))
    yield from missing
    if missing:
        return
    for place, dataset in named_datasets(cfg, split):
        names = class_names(dataset_class(cfg, dataset), dataset)
        if isinstance(names, str):
            found = f"{place}: metainfo.classes is the text {names!r}, neither a list nor a file"
            remedy = f"write a list, also of a single name: metainfo=dict(classes=[{names!r}])"
            yield Finding(f"{split} classes", "fail", found, remedy)
        else:
            yield from coco_findings(cfg, split, dataset)
            yield from voc_findings(cfg, split, dataset)
            yield from folder_findings(cfg, split, dataset)
    yield from evaluator_findings(cfg, split)


def part_findings(cfg: Config) -> Iterator[Finding]:
    """Look for parts of a config without those that the Runner wants beside them."""
    kind = cfg.get("runner_type") or "Runner"
    if kind != "Runner" or cfg.get("strategy"):
        found = (
            f"runner_type={kind}: trainings have a Runner of their own here, which goes on after"
            " any fault; it has no strategies (FSDP, DeepSpeed, ColossalAI)"
        )
        remedy = (
            "take runner_type and strategy out, or train with MMEngine's, behind torchrun with"
            " launcher='pytorch' in the config: python -c \"from mmengine.config import Config;"
            " from mmengine.runner import FlexibleRunner as R;"
            f" R.from_cfg(Config.fromfile('{cfg.filename}')).train()\""
        )
        yield Finding("train parts", "fail", found, remedy)
    thirds = {"train": "optim_wrapper", "val": "val_evaluator", "test": "test_evaluator"}
    for split, third in thirds.items():
        parts = (f"{split}_dataloader", f"{split}_cfg", third)
        given = [part for part in parts if cfg.get(part) is not None]
        if given and len(given) < len(parts):
            lacking = " and no ".join(part for part in parts if part not in given)
            found = f"the config has {' and '.join(given)}, but no {lacking}"
            options = " ".join(f"{part}=None" for part in given)
            remedy = f"set all three, or none: --cfg-options {options}"
            yield Finding(f"{split} parts", "fail", found, remedy)
    for place, part in dicts(cfg.get("visualizer") or {}, "visualizer"):
        package = RECORDERS.get(type_name(dict(part)))
        if package and importlib.util.find_spec(package) is None:
            found = f"{place}: {type_name(dict(part))} needs {package}, which is not installed"
            yield Finding("train parts", "fail", found, f"pip install {package}, or take it out")


def file_findings(cfg: Config, split: str) -> Iterator[Finding]:
    """Say which files the data sets of a split, and its evaluators, name and the disk lacks."""
    name = f"{split} files"
    for place, dataset in named_datasets(cfg, split):
        if _fetches(dataset_class(cfg, dataset), dataset):
            continue
        if missing := missing_paths(dataset):
            verb = "does" if len(missing) == 1 else "do"
            found = f"{place}: {', '.join(missing)} {verb} not exist"
            if not os.path.isabs(missing[0].split()[-1]):
                found += f" below {Path.cwd()}"
            place_them = f"or name their place: --cfg-options {place}.data_root=DIR"
            yield Finding(name, "fail", found, f"put or link the data there, {place_them}")
    for key, evaluator in named_evaluators(cfg, split):
        for argument in ("ann_file", "seg_prefix"):
            path = evaluator.get(argument)
            if not isinstance(path, str) or "://" in path or not _is_local(evaluator):
                continue
            if not Path(path).exists():
                found = f"{key}: {argument} {path} does not exist"
                remedy = f"name that of {split}_dataloader: --cfg-options {key}.{argument}=PATH"
                yield Finding(name, "fail", found, remedy)


def missing_paths(dataset: Mapping[str, Any]) -> list[str]:
    """List the files and directories that a data set's settings name and the disk lacks.

    Data that are not read from the local disk are let pass.
    """
    root = dataset.get("data_root") or ""
    if "://" in root or not _is_local(dataset):
        return []
    if root and not os.path.isdir(root):
        return [f"data_root {root}"]
    prefixes = dataset.get("data_prefix") or {}
    if isinstance(prefixes, str):
        prefixes = {"": prefixes}
    named = {f"data_prefix {path}": path for path in prefixes.values() if isinstance(path, str)}
    annotations = dataset.get("ann_file")
    if isinstance(annotations, str) and annotations:
        named[f"ann_file {annotations}"] = annotations
    missing = []
    for name, path in named.items():
        place = os.path.join(root, path)
        if place and "://" not in place and not os.path.exists(place):
            missing.append(f"{name} ({place})" if root else name)
    return missing


def _fetches(kind: Any, dataset: Mapping[str, Any]) -> bool:
    """Whether a data set downloads what the disk lacks, as MMPretrain's CIFAR10 and MNIST do."""
    settings = inspect.signature(kind).parameters if isinstance(kind, type) else {}
    return "download" in settings and dataset.get("download", settings["download"].default) is True


def _is_local(settings: Mapping[str, Any]) -> bool:
    backend = (settings.get("backend_args") or {}).get("backend", "local")
    return backend in ("local", "LocalBackend")


def folder_findings(cfg: Config, split: str, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare the folders of MMPretrain's ``CustomDataset`` with the classes, one for each."""
    kind, prefix = dataset_class(cfg, dataset), dataset.get("data_prefix") or ""
    if isinstance(prefix, Mapping):
        prefix = prefix.get("img_path") or ""
    folder = os.path.join(dataset.get("data_root") or "", prefix)
    classes = class_names(kind, dataset)
    by_folders = dataset.get("with_label", True) and not dataset.get("ann_file")
    known = getattr(kind, "__module__", "") == "mmpretrain.datasets.custom"
    if not known or not by_folders or not classes or not os.path.isdir(folder):
        return
    folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if len(folders) != len(classes):
        found = f"{folder} has {len(folders)} folders for {len(classes)} classes"
        remedy = "a folder for each class, an empty one if it has no images, and no other"
        more = [name for name in folders if name not in classes]
        lacking = [name for name in classes if name not in folders]
        if more and len(more) < len(folders):  # otherwise classes and folders have other names
            found += f"; of no class: {listed(more, 5)}"
        if lacking and len(lacking) < len(classes):
            found += f"; without a folder: {listed(lacking, 5)}"
        yield Finding(f"{split} folders", "fail", found, remedy)
