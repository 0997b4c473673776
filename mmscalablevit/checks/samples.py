"""Telling the user which file of the data is at fault, while a training or a test runs."""

from __future__ import annotations

import logging
import re
from typing import Any

import cv2
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmscalablevit.checks import datasets
from mmscalablevit.errors import FAILURES, UsageError

# What the frameworks and their libraries say of bad data: exceptions of other kinds and other
# texts keep their tracebacks.
DATA_ERRORS = (*FAILURES, cv2.error)

# Patterns of messages, and what to tell instead; several do not name the file.
_FIND = "`python tools/preflight.py {config} --images N` reads N files of each data set"
_EMPTY = (
    "the data set is empty\n  look at its ann_file, data_prefix, the suffixes of its files,"
    " filter_cfg, and metainfo.classes (names as in the annotations)"
)
_KNOWN = (
    (r"No such file or directory: '?([^'\n]*)'?", "{0} does not exist"),
    (r"failed to load image: ([^\n]*)", "{0} cannot be decoded: it is damaged or no image"),
    (r"cannot identify image file", f"a label map is no image\n  {_FIND}"),
    (r"image file is truncated", f"a label map is cut short\n  {_FIND}"),
    (r"!buf\.empty\(\)", f"an image file is empty\n  {_FIND}"),
    (r"need at least one array to concatenate", _EMPTY),  # MMEngine's data sets
    (r"Found 0 files in subfolders of: ([^\n]*?)\. Supp", f"no images in {{0}}: {_EMPTY}"),
)


def explain(error: BaseException, config: str) -> str | None:
    """Say which data an error comes from.

    Args:
        error: What the Runner raised; of a data loader's worker it holds the traceback as text.
        config: Path of the config, for the command that finds the file.

    Returns:
        A sentence, and what to do on a line of its own; None if the error is of another kind.
    """
    for pattern, sentence in _KNOWN:
        if found := re.search(pattern, str(error)):
            return sentence.format(*found.groups(), config=config)
    return None


def require_samples(runner: Runner, split: str) -> None:
    """Check that a loader gives samples, and of the classes that the model has.

    To be called before the training or the test, which would do nothing, wait for ever, or fail
    with another error.

    Args:
        runner: The run.
        split: ``'train'`` or ``'test'``.

    Raises:
        UsageError: There are no samples, or their classes are not the model's.
    """
    loader = runner.train_dataloader if split == "train" else runner.test_dataloader
    size = len(loader.dataset)
    if size == 0:
        raise UsageError(f"{split}_dataloader: {_EMPTY}")
    if len(loader) == 0:
        raise UsageError(
            f"{split}_dataloader: {size} samples do not fill a batch of {loader.batch_size}; lower"
            " batch_size or turn drop_last off"
        )
    model = runner.cfg.model
    for dataset in inner_datasets(loader.dataset):
        require_categories(dataset)
        if different := datasets.compare_classes(model.get("module", model), dataset):
            found, remedy, fatal = different
            message = f"{split}_dataloader: {found}\n  {remedy}"
            if fatal:
                raise UsageError(message)
            print_log(message, logger="current", level=logging.WARNING)


def inner_datasets(dataset: Any) -> list[Any]:
    """The data sets inside built wrappers."""
    if hasattr(dataset, "datasets"):
        return [inner for part in dataset.datasets for inner in inner_datasets(part)]
    for name in ("dataset", "_dataset"):
        if hasattr(dataset, name):
            return inner_datasets(getattr(dataset, name))
    return [dataset]


def require_categories(dataset: Any) -> None:
    """Check that a COCO annotation file has the categories that the config names.

    MMDetection numbers those that it finds, so that the labels of the others would shift.

    Raises:
        UsageError: It lacks some.
    """
    found, classes = getattr(dataset, "cat_ids", None), datasets.data_classes(dataset)
    if not isinstance(found, list) or not classes or len(found) >= len(classes):
        return
    raise UsageError(
        f"{dataset.ann_file} has {len(found)} of the {len(classes)} classes that the config names:"
        " labels would shift\n  spell metainfo.classes as its categories;"
        " `python tools/preflight.py CONFIG` names those that it lacks"
    )
