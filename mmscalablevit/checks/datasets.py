"""What a config says of its data, and whether it is there: checked before long work starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import type_name

# Parts of a model whose num_classes is not the number of the data set's classes.
_OTHER_CLASSES = ("data_preprocessor", "rpn_head", "train_cfg", "test_cfg", "backbone", "neck")


def named_datasets(cfg: Config, loader: str) -> Iterator[tuple[str, ConfigDict]]:
    """Walk through the data sets of a loader, inside wrappers such as ``RepeatDataset``.

    Args:
        cfg: The whole config.
        loader: Such as ``'train_dataloader'``.

    Yields:
        The place of each in the config, as ``--cfg-options`` takes it, and its settings.
    """
    if cfg.get(loader) and cfg[loader].get("dataset"):
        yield from _inner(f"{loader}.dataset", cfg[loader].dataset)


def _inner(place: str, dataset: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    if "dataset" in dataset:
        yield from _inner(f"{place}.dataset", dataset.dataset)
    elif "datasets" in dataset:
        for number, part in enumerate(dataset.datasets):
            yield from _inner(f"{place}.datasets.{number}", part)
    else:
        yield place, dataset


def missing_paths(dataset: Mapping[str, Any]) -> list[str]:
    """List the files and directories that a data set's settings name and the disk lacks.

    Data that are not read from the local disk are let pass.
    """
    backend = (dataset.get("backend_args") or {}).get("backend", "local")
    root = dataset.get("data_root") or ""
    if backend not in ("local", "LocalBackend") or "://" in root:
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


def require_data(cfg: Config, *loaders: str) -> None:
    """Check that the data of some loaders lie where the config says.

    Raises:
        UsageError: They do not.
    """
    for loader in loaders:
        for place, dataset in named_datasets(cfg, loader):
            if missing := missing_paths(dataset):
                raise UsageError(f"{describe_missing(place, missing)}\n  {remedy(place)}")


def describe_missing(place: str, missing: Sequence[str]) -> str:
    """Say what a data set lacks."""
    verb = "does" if len(missing) == 1 else "do"
    found = f"{place}: {', '.join(missing)} {verb} not exist"
    return found + ("" if os.path.isabs(missing[0].split()[-1]) else f" below {Path.cwd()}")


def remedy(place: str) -> str:
    """Say how to tell a config where its data are."""
    return f"put or link the data there, or name their place: --cfg-options {place}.data_root=DIR"


def model_classes(model: Mapping[str, Any]) -> dict[str, int]:
    """Find the numbers of classes that the heads of a model are set to.

    Returns:
        The numbers by their places in the config; without the proposal network's, which tells
        objects from background.
    """
    found: dict[str, int] = {}

    def visit(place: str, node: Any) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key == "num_classes" and isinstance(value, int):
                    found[f"{place}.{key}"] = value
                elif key not in _OTHER_CLASSES:
                    visit(f"{place}.{key}", value)
        elif isinstance(node, (list, tuple)):
            for number, value in enumerate(node):
                visit(f"{place}.{number}", value)

    visit("model", model)
    return found


def data_classes(dataset: Any) -> list[str] | None:
    """Names of the classes that a built data set labels; None where it does not say.

    Of a panoptic data set these are the things: what lies around them has a head of its own.
    """
    metainfo = getattr(dataset, "metainfo", None) or {}
    classes = metainfo.get("thing_classes") or metainfo.get("classes")
    return None if classes is None else list(classes)


def compare_classes(model: Mapping[str, Any], dataset: Any) -> tuple[str, str, bool] | None:
    """Compare the classes of a built data set with those of the model's config.

    Returns:
        What differs, how to mend it, and whether the data set has classes for which the model has
        no output; None if all agree, or nothing is known.
    """
    classes, heads = data_classes(dataset), model_classes(model)
    if classes is None or type_name(dict(model)) == "RPN":
        return None
    different = {place: number for place, number in heads.items() if number != len(classes)}
    if not different:
        return None
    listed = ", ".join(f"{place}={number}" for place, number in different.items())
    setting = " ".join(f"{place}={len(classes)}" for place in different)
    return (
        f"the data set has {len(classes)} classes ({_shorten(classes)}), the model {listed}",
        f"--cfg-options {setting}, or give the data set the model's classes in metainfo.classes",
        len(classes) > min(different.values()),
    )


def _shorten(names: Sequence[str], most: int = 4) -> str:
    listed = ", ".join(map(str, names[:most]))
    return listed if len(names) <= most else f"{listed}, ..."
