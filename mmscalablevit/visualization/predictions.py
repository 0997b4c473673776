"""What a model predicts on images of its test set, beside the truth (the paper's Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from torch import inference_mode

from mmscalablevit.cli.building import load_model
from mmscalablevit.hooks import pictures
from mmscalablevit.visualization import figures

FEW_CLASSES = 20  # whose colours all fit below a picture
SCORE_THR = 0.5  # boxes with a lower score are not drawn
_MANY = 12  # images of which a classifier's are drawn small


def draw_test_images(cfg: Config, checkpoint: str, file: Path, count: int | None, seed: int) -> str:
    """Draw predictions on random images of the test set beside the truth.

    There are as many as ``count``, fewer if the set has fewer; by default 40, 6 for dense tasks.

    Returns:
        What the picture, written to ``file``, shows, in a sentence.
    """
    model, meta = load_model(cfg, checkpoint)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    count = count or (40 if cfg.get("default_scope") == "mmpretrain" else 6)
    indices = choose_samples(len(dataset), count, seed)
    samples = predict(model, (dataset[index] for index in indices))
    if pictures.is_classified(samples[0]):
        heading = f"{len(samples)} random test images, predicted label and score"
    else:
        heading = f"{len(samples)} random test images: truth on the left, prediction on the right"
    return save_grid(samples, {**meta, **dataset.metainfo}, heading, file)


def choose_samples(length: int, count: int, seed: int) -> list[int]:
    """Draw indices without repetition, in ascending order."""
    random = np.random.RandomState(seed)
    return sorted(random.permutation(length)[:count].tolist())


def predict(model: Any, data: Iterable[dict]) -> list[BaseDataElement]:
    """Run a model on what its pipeline made of images, one at a time, for data samples."""
    with inference_mode():
        return [sample for item in data for sample in model.test_step(pseudo_collate([item]))]


def colour_legend(samples: Sequence[Any], meta: Mapping[str, Any]) -> list[int]:
    """List the classes whose colours are explained: all if they are few, else those to be seen."""
    seen = np.arange(len(meta.get("classes") or ()))
    if not 0 < len(seen) <= FEW_CLASSES:
        maps = [pictures.label_map(sample, kind) for sample in samples for kind in ("gt", "pred")]
        seen = np.concatenate([np.unique(each) for each in maps if each is not None])
    return pictures.painted_labels(seen, meta)


def save_grid(
    samples: Sequence[BaseDataElement], meta: Mapping[str, Any], heading: str, file: Path
) -> str:
    """Draw samples on one page: classified images with their labels, others beside the truth.

    Returns:
        The title, with the number of right labels where the truth is known.
    """
    classified = pictures.is_classified(samples[0])
    kinds = ("pred",) if classified else ("gt", "pred")
    places = len(samples) * len(kinds)
    columns, inches = (8, 1.5) if classified and places > _MANY else (min(4, places), 2.5)
    first = pictures.read_image(samples[0])
    figure, grid = figures.make_grid(math.ceil(places / columns), columns, inches, first)
    cells, right = iter(grid.flat), 0
    for sample in samples:
        image, name = pictures.read_image(sample), Path(str(sample.img_path)).stem
        for kind in kinds:
            axes, good = next(cells), True
            pictures.draw_sample(axes, image, sample, kind, meta, SCORE_THR, names=False)
            title = {"gt": f"{name}: truth", "pred": f"{name}: prediction"}[kind]
            if classified:
                title, good = pictures.describe_labels(sample, meta)
                right += good
            axes.set_title(title, fontsize=8, color="black" if good else "crimson", pad=3)
    if classified and "gt_label" in samples[0]:
        heading += f": {right} right"
    figure.suptitle(heading, fontsize=10)
    if pictures.label_map(samples[0], "pred") is not None:
        handles = [
            Patch(color=pictures.colour(meta, label), label=pictures.class_name(meta, label))
            for label in colour_legend(samples, meta)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=10, frameon=False)
    figures.save(figure, file)
    return heading
