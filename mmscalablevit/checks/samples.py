"""Built data sets: what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

import numpy as np
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmscalablevit.checkpoints import Checkpoint
from mmscalablevit.checks import require
from mmscalablevit.checks.classes import (
    class_findings,
    inner_datasets,
    loader_classes,
    numbering_findings,
    trained_classes,
)
from mmscalablevit.checks.configs import model_classes
from mmscalablevit.checks.failures import EMPTY, FILL
from mmscalablevit.checks.images import map_findings
from mmscalablevit.checks.label_maps import partner_findings
from mmscalablevit.errors import Finding

# Label maps that are read before a training: of what kind they are, classes without a pixel.
MAPS = 16


def require_samples(runner: Runner, split: str, checkpoint: Checkpoint | None = None) -> None:
    """Check that loaders give samples, and of the classes that the model has.

    To be called before the training or the test, which would do nothing, wait for ever, or fail
    with another error.

    Args:
        runner: The run.
        split: ``'train'``, which looks at the validation's loader, too, or ``'test'``.
        checkpoint: The one that is tested, or resumed.

    Raises:
        UsageError: There are no samples, or their classes are not the model's.
    """
    if split == "test":
        loaders = {"test": runner.test_dataloader}
    else:
        loaders = {"train": runner.train_dataloader}
        if runner.val_loop is not None:
            loaders["val"] = runner.val_loop.dataloader
    trained = checkpoint and trained_classes(checkpoint.content)
    for name, loader in loaders.items():
        findings = loader_findings(runner.cfg.model, name, loader, name == "test" and not trained)
        require(findings, f"{name}_dataloader: ")
    numbered = {checkpoint.path: trained} if checkpoint and trained else {}
    require(numbering_findings({**numbered, **loader_classes(loaders)}))
    for dataset in inner_datasets(loaders["train"].dataset) if split == "train" else ():
        require(map_findings(runner.cfg, split, dataset, MAPS), "train_dataloader: ")


def loader_findings(
    model: Mapping[str, Any], split: str, loader: DataLoader, alone: bool = False
) -> Iterator[Finding]:
    """Examine what a loader gives, without reading any image.

    Args:
        model: The config's model.
        split: ``'train'``, ``'val'`` or ``'test'``.
        loader: Its data loader.
        alone: See :func:`.class_findings`.

    Yields:
        What was found about the number of samples, the classes and the pairs of files.
    """
    name, dataset = f"{split} data", cast("Sized", loader.dataset)
    size = len(dataset)
    if size == 0:
        yield Finding(name, "fail", EMPTY, FILL)
    elif len(loader) == 0:
        # a loader with a batch sampler has no batch size of its own
        batch = getattr(loader.batch_sampler, "batch_size", loader.batch_size)
        found = (
            f"{size} samples do not fill a batch of {batch}; lower batch_size or turn drop_last off"
        )
        yield Finding(name, "fail", found, f"--cfg-options {split}_dataloader.batch_size={size}")
    else:
        yield Finding(name, "ok", f"{size} samples, {len(loader)} batches")
    for inner in inner_datasets(dataset):
        yield from class_findings(model.get("module", model), split, inner, alone)
        yield from partner_findings(split, inner)


def label_findings(model: Mapping[str, Any], split: str, dataset: Any) -> Iterator[Finding]:
    """Check the labels of a classification data set, all of them."""
    heads = [value for place, value in model_classes(model).items() if "head" in place]
    if not hasattr(dataset, "get_gt_labels") or not heads or not len(dataset):
        return
    name, classes = f"{split} labels", min(heads)
    try:
        labels = dataset.get_gt_labels()
    except (KeyError, TypeError, ValueError):  # several labels an image, or none
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        path = dataset.get_data_info(int(wrong[0]))["img_path"]
        found = (
            f"{len(wrong)} of {len(labels)} labels lie beyond the model's {classes} classes "
            f"(0 to {classes - 1}): {path} has {labels[wrong[0]]}"
        )
        remedy = "number the classes from 0 in the annotation file, or raise the head's num_classes"
        yield Finding(name, "fail", found, remedy)
        return
    used = len(np.unique(labels))
    found = f"0 to {labels.max()}; {used} of {classes} classes have samples"
    remedy = "fine for a part of the data; otherwise look at the folders of the classes"
    yield Finding(name, "warn" if used < classes else "ok", found, remedy)
