"""What a config names: data sets, evaluators, classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from mmscalablevit.evaluation.selection import placed_datasets

# Parts of a model whose num_classes is not the number of the data set's classes.
_OTHER_CLASSES = ("data_preprocessor", "rpn_head", "train_cfg", "test_cfg", "backbone", "neck")


def named_datasets(cfg: Config, split: str) -> Iterator[tuple[str, ConfigDict]]:
    """Walk through the data sets of a split: their places in the config, and their settings."""
    loader = cfg.get(f"{split}_dataloader")
    if loader and loader.get("dataset"):
        yield from placed_datasets(loader.dataset, f"{split}_dataloader.dataset")


def named_evaluators(cfg: Config, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk through the evaluators of a split: their places in the config, and their settings."""
    place = f"{split}_evaluator"
    given = cfg.get(place) or []
    if isinstance(given, Mapping):
        yield place, given
        return
    for number, evaluator in enumerate(given):
        if isinstance(evaluator, Mapping):
            yield f"{place}.{number}", evaluator


def dataset_class(cfg: Config, dataset: Mapping[str, Any]) -> Any:
    """The class that a data set's settings name; None if there is none of that name."""
    kind = dataset["type"]
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        return registry.get(kind) if isinstance(kind, str) else kind


def class_names(kind: Any, dataset: Mapping[str, Any]) -> list[str] | str:
    """Names of the classes that a data set's settings, or else its class, state.

    Returns:
        The names; a text that is neither a list nor a file of them as it is.
    """
    stated = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    classes = stated.get("classes") or []
    if isinstance(classes, str):
        return list_from_file(classes) if Path(classes).is_file() else classes
    return list(classes)


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
