"""Which class is which: data sets and model must number the same names alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from mmscalablevit.checks.configs import model_classes
from mmscalablevit.errors import Finding, listed
from mmscalablevit.evaluation.selection import type_name


def differing_numbers(names: Sequence[str], reference: Sequence[str]) -> str:
    """Say which names stand at other places in one list than in another; empty if none does.

    A name that occurs twice counts where it is first, as ``crane`` among ImageNet's.
    """
    expected = {name: number for number, name in reversed(list(enumerate(reference)))}
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    differing = [
        f"{name!r} is label {number}, not {expected[name]}"
        for name, number in sorted(numbers.items(), key=lambda item: item[1])
        if expected.get(name, number) != number
    ]
    return listed(differing, 3)


def inner_datasets(dataset: Any) -> list[Any]:
    """The data sets inside built wrappers."""
    if hasattr(dataset, "datasets"):
        return [inner for part in dataset.datasets for inner in inner_datasets(part)]
    return inner_datasets(dataset.dataset) if hasattr(dataset, "dataset") else [dataset]


def data_classes(metainfo: Mapping[str, Any] | None) -> list[str] | None:
    """Names of the classes that a data set labels, in their order; None where it does not say.

    Of a panoptic data set these are the things: what lies around them has a head of its own.

    Args:
        metainfo: Of a built data set, or of the one that a checkpoint was trained on.
    """
    classes = (metainfo or {}).get("thing_classes") or (metainfo or {}).get("classes")
    return None if classes is None else list(classes)


def trained_classes(checkpoint: Mapping[str, Any]) -> list[str] | None:
    """The classes that a checkpoint was trained with; None where it does not say."""
    return data_classes((checkpoint.get("meta") or {}).get("dataset_meta"))


def class_findings(
    model: Mapping[str, Any], split: str, dataset: Any, alone: bool = False
) -> Iterator[Finding]:
    """Compare a built data set's classes with the model's heads, and with its folders.

    Args:
        model: The config's model.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: A data set that is none of MMEngine's wrappers.
        alone: Whether neither a training's data set nor a checkpoint says which class is which.
    """
    name, classes = f"{split} classes", data_classes(getattr(dataset, "metainfo", None))
    if classes is None:
        yield Finding(name, "ok", "the data set names none")
        return
    folders = sorted(getattr(dataset, "folder_to_idx", ()))  # by which MMPretrain numbers
    if differing := differing_numbers(folders, classes):
        found = f"the folders' order is not that of metainfo.classes: {differing}"
        yield Finding(name, "fail", found, f"list them in this order: {listed(folders, 20)}")
    others = [one for one in classes if one not in folders]
    if 0 < len(others) < len(classes) == len(folders):
        found = f"no folder is named {listed(others, 3)}, they are numbered by their order alone"
        yield Finding(name, "warn", found, f"name them as the folders: {listed(folders, 20)}")
    heads = {} if type_name(dict(model)) == "RPN" else model_classes(model)
    different = {place: number for place, number in heads.items() if number != len(classes)}
    if not different:
        yield Finding(name, "ok", f"{len(classes)}, as many as the model has")
        return
    numbers = ", ".join(f"{place}={number}" for place, number in different.items())
    found = f"the data set has {len(classes)} classes ({listed(classes, 4)}), the model {numbers}"
    setting = " ".join(f"{place}={len(classes)}" for place in different)
    remedy = "give the data set the model's classes in metainfo.classes"
    if len(classes) > min(different.values()):
        yield Finding(name, "fail", found, f"--cfg-options {setting}, or {remedy}")
    elif alone and folders == classes:
        found += "; named by folders alone, they may be numbered otherwise than in training"
        yield Finding(name, "fail", found, f"{remedy}, and an empty folder to those without images")
    else:  # classes without samples can be trained
        yield Finding(name, "warn", found, f"--cfg-options {setting}, or {remedy}")


def loader_classes(loaders: Mapping[str, DataLoader]) -> dict[str, list[str]]:
    """The classes of built loaders' data sets.

    Args:
        loaders: By their splits, ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        The classes by the loaders' names in the config; without those that name none.
    """
    numbered = {}
    for split, loader in loaders.items():
        classes = data_classes(getattr(loader.dataset, "metainfo", None))
        if classes is not None:
            numbered[f"{split}_dataloader"] = classes
    return numbered


def numbering_findings(numbered: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Check that the same names are numbered alike everywhere.

    Args:
        numbered: Lists of names, by what has them; the others should agree with the first.
    """
    for place, classes in numbered.items():
        first = next(iter(numbered))
        if differing := differing_numbers(classes, numbered[first]):
            name = f"{place.removesuffix('_dataloader')} classes"
            found = f"{place} numbers its classes otherwise than {first}: {differing}"
            remedy = (
                "give all data sets the same metainfo.classes, and what numbers them the same"
                " order: the categories of annotation files, or folders, empty ones included"
            )
            yield Finding(name, "fail", found, remedy)
