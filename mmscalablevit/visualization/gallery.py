"""A picture of what a model predicts on several images of its test set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import inference_mode

from mmscalablevit.hooks.pictures import label_map, painted_labels, read_image, truth_and_prediction

matplotlib.use("agg")  # a server has no screen

Tile = tuple[np.ndarray, str, bool]
Entry = tuple[str, Sequence[int]]

FEW_CLASSES = 20  # whose colours all fit below a picture
LEGEND_COLUMNS = 10


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
    image = read_image(sample)
    predicted, true = int(sample.pred_label), int(sample.gt_label)
    score = float(sample.pred_score[predicted])
    title = f"{classes[predicted]} ({score:.0%})"
    if predicted != true:
        title += f", is {classes[true]}"
    return image, title, predicted == true


def dense_tiles(runner: Runner, sample: Any) -> list[Tile]:
    """An image with boxes, masks or a label map drawn in: first the truth, then the prediction."""
    halves = truth_and_prediction(runner.visualizer, sample, score_thr=0.5, names=False)
    name = Path(sample.img_path).stem
    titles = (f"{name}: truth", f"{name}: prediction")
    return [(half, title, True) for half, title in zip(halves, titles, strict=True)]


def colour_legend(samples: Sequence[Any], meta: Mapping[str, Any]) -> list[Entry]:
    """Name the colours of label maps: of all classes if they are few, else of those to be seen.

    Args:
        samples: Data samples with label maps.
        meta: `classes` and `palette` of the data set.
    """
    classes, palette = meta["classes"], meta["palette"]
    seen = np.arange(len(classes))
    if len(classes) > FEW_CLASSES:
        maps = [label_map(sample, kind) for sample in samples for kind in ("gt", "pred")]
        seen = np.concatenate([np.unique(each) for each in maps if each is not None])
    return [(classes[label], palette[label]) for label in painted_labels(seen, classes)]


def save_grid(
    tiles: Sequence[Tile],
    heading: str,
    file: Path,
    columns: int,
    inches: float = 1.5,
    legend: Sequence[Entry] = (),
) -> None:
    """Write pictures with titles, wrong ones in red, as one PNG.

    Args:
        tiles: Image (H, W, 3) in RGB, its title, and whether it is right.
        heading: Title of the whole.
        file: The PNG to write; its folder is made.
        columns: Pictures in a row.
        inches: Height of a picture, at 150 pixels an inch.
        legend: Names and colours (0 to 255), for the foot of the page.
    """
    rows = math.ceil(len(tiles) / columns)
    aspect = tiles[0][0].shape[1] / tiles[0][0].shape[0]
    foot = 0.25 * math.ceil(len(legend) / LEGEND_COLUMNS)
    height = (inches + 0.25) * rows + 0.6 + foot
    figure = Figure(figsize=(inches * columns * max(aspect, 1), height))
    for place, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if place < len(tiles):
            image, title, right = tiles[place]
            axes.imshow(image)
            axes.set_title(title, fontsize=8, color="black" if right else "crimson", pad=3)
    figure.suptitle(heading, fontsize=10)
    if legend:
        handles = [
            Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=name)
            for name, colour in legend
        ]
        figure.legend(handles=handles, loc="lower center", ncols=LEGEND_COLUMNS, frameon=False)
    figure.tight_layout(rect=(0, foot / height, 1, 1))
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
        save_grid(tiles, heading, file, columns=8)
    else:
        tiles = [tile for sample in samples for tile in dense_tiles(runner, sample)]
        heading = f"{len(samples)} random test images: truth on the left, prediction on the right"
        legend = []
        if label_map(samples[0], "pred") is not None:
            legend = colour_legend(samples, runner.visualizer.dataset_meta)
        save_grid(tiles, heading, file, columns=4, inches=2.5, legend=legend)
    return heading
