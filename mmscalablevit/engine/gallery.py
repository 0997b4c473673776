"""A picture of what a model predicts on images of its test set."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import mmcv
import numpy as np
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import inference_mode

from .hooks import draw_sample

matplotlib.use("agg")  # a server has no screen

Tile = tuple[np.ndarray, str, bool]


def choose_samples(length: int, count: int, seed: int) -> list[int]:
    """Draw indices without repetition, in ascending order."""
    random = np.random.RandomState(seed)
    return sorted(random.permutation(length)[:count].tolist())


def predict(runner: Runner, indices: Sequence[int]) -> list[BaseDataElement]:
    """Run the model on some samples of the test set, one at a time.

    Args:
        runner: With a model that has its weights.
        indices: Indices into the data set of the test data loader.

    Returns:
        The samples with predictions and truth.
    """
    model, dataset = runner.model.eval(), runner.test_dataloader.dataset
    samples = []
    with inference_mode():
        for index in indices:
            samples += model.test_step(pseudo_collate([dataset[index]]))
    return samples


def class_tile(sample: Any, classes: Sequence[str]) -> Tile:
    """A classified image with its predicted and true label.

    Args:
        sample: MMPretrain's DataSample.
        classes: Names of the classes.
    """
    image = mmcv.imread(sample.img_path, channel_order="rgb")
    predicted, true = int(sample.pred_label), int(sample.gt_label)
    score = float(sample.pred_score[predicted])
    title = f"{classes[predicted]} ({score:.0%})"
    if predicted != true:
        title += f", is {classes[true]}"
    return image, title, predicted == true


def dense_tile(runner: Runner, sample: Any) -> Tile:
    """An image with boxes, masks or label maps drawn in, the truth on the left."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "sample.png")
        if "pred_instances" in sample:
            # What is drawn last covers what lies below: the surest comes last.
            instances = sample.pred_instances
            sample.pred_instances = instances[instances.scores.argsort()]
        draw_sample(runner, sample, file, score_thr=0.5)
        return mmcv.imread(file, channel_order="rgb"), Path(sample.img_path).name, True


def save_grid(tiles: Sequence[Tile], heading: str, file: Path, columns: int) -> None:
    """Write pictures with titles, wrong ones in red, as one PNG.

    Args:
        tiles: Image (H, W, 3) in RGB, its title, and whether it is right.
        heading: Title of the whole.
        file: The PNG to write; its folder is made.
        columns: Pictures in a row.
    """
    rows = math.ceil(len(tiles) / columns)
    aspect = tiles[0][0].shape[1] / tiles[0][0].shape[0]
    figure = Figure(figsize=(1.5 * columns * max(aspect, 1), 1.75 * rows + 0.6))
    for place, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if place < len(tiles):
            image, title, right = tiles[place]
            axes.imshow(image, interpolation="nearest")
            axes.set_title(title, fontsize=8, color="black" if right else "crimson", pad=3)
    figure.suptitle(heading, fontsize=10)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def save_predictions(runner: Runner, file: Path, count: int, seed: int) -> str:
    """Draw predictions on random images of the test set beside the truth.

    Args:
        runner: With a model that has its weights.
        file: The PNG to write.
        count: How many images; fewer if the set has fewer.
        seed: Of the choice of images.

    Returns:
        What the picture shows, in a sentence.
    """
    indices = choose_samples(len(runner.test_dataloader.dataset), count, seed)
    samples = predict(runner, indices)
    if "gt_label" in samples[0]:
        classes = runner.test_dataloader.dataset.metainfo["classes"]
        tiles = [class_tile(sample, classes) for sample in samples]
        right = sum(tile[2] for tile in tiles)
        heading = f"{len(tiles)} random test images, predicted label and score: {right} right"
        columns = 8
    else:
        tiles = [dense_tile(runner, sample) for sample in samples]
        heading = f"{len(tiles)} random test images: truth on the left, prediction on the right"
        columns = 2 if len(tiles) < 9 else 3
    save_grid(tiles, heading, file, columns)
    return heading
