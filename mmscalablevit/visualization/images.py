"""Predictions on image files, for which there is no truth: the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import inference_mode

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import innermost_datasets, type_name
from mmscalablevit.hooks.pictures import label_map, read_image, truth_and_prediction
from mmscalablevit.visualization.gallery import Tile, colour_legend, save_grid

# What a Runner that only predicts does without. Each would be looked for or built.
_OTHER_PARTS = ("train", "val", "test")
_OTHER_ENTRIES = ("val_evaluator", "test_evaluator", "optim_wrapper", "param_scheduler")


def check_images(files: Sequence[Path]) -> None:
    """Check that files are images, before a model is built.

    Raises:
        UsageError: One does not exist, or cannot be read.
    """
    for file in files:
        if not file.is_file():
            raise UsageError(f"image {file} does not exist, or is no file")
        if mmcv.imread(str(file)) is None:
            raise UsageError(f"{file} is no image that OpenCV can read")


def build_runner(cfg: Config) -> tuple[Runner, list[dict[str, Any]]]:
    """Build a config's model, and the visualizer with the names of its classes, without any data.

    Args:
        cfg: The config, with a work directory; what has to do with data is taken out of it.

    Returns:
        The Runner, and the steps of the test pipeline that work without labels.

    Raises:
        UsageError: The config has no data set to test on, and so neither classes nor pipeline.
    """
    if not cfg.get("test_dataloader"):
        raise UsageError(f"{cfg.filename} has no test_dataloader, whose pipeline reads images")
    dataset = innermost_datasets(cfg.test_dataloader.dataset)[0]
    for part in _OTHER_PARTS:
        cfg[f"{part}_dataloader"] = cfg[f"{part}_cfg"] = None
    for entry in _OTHER_ENTRIES:
        cfg[entry] = None
    runner = Runner.from_cfg(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        # not read: only its classes and their colours are asked for
        metainfo = DATASETS.build({**dataset, "lazy_init": True}).metainfo
    runner.visualizer.dataset_meta = metainfo
    return runner, [step for step in dataset.pipeline if "Annotations" not in type_name(step)]


def predict(
    runner: Runner, steps: Sequence[dict[str, Any]], files: Sequence[Path]
) -> list[BaseDataElement]:
    """Run a model on image files, one at a time.

    Args:
        runner: With a model that has its weights.
        steps: The test pipeline, without labels.
        files: The images.
    """
    model, samples = runner.model.eval(), []
    pipeline = Compose(steps)
    with inference_mode():
        for number, file in enumerate(files):
            data = pipeline({"img_path": str(file), "img_id": number})
            samples += model.test_step(pseudo_collate([data]))
    return samples


def save_image_predictions(
    runner: Runner, steps: Sequence[dict[str, Any]], files: Sequence[Path], out: Path
) -> str:
    """Draw what a model predicts on image files, beside the images.

    Args:
        runner: With a model that has its weights.
        steps: The test pipeline, without labels.
        files: The images.
        out: The PNG to write.

    Returns:
        What the picture shows, in a sentence.
    """
    samples = predict(runner, steps, files)
    meta, legend = runner.visualizer.dataset_meta, []
    if "pred_label" in samples[0]:
        heading = f"{len(files)} image(s), predicted label and score"
        tiles = [_class_tile(sample, meta["classes"]) for sample in samples]
    else:
        heading = f"{len(files)} image(s), and predictions to the right of each"
        tiles = [tile for sample in samples for tile in _dense_tiles(runner, sample)]
        if label_map(samples[0], "pred") is not None:
            legend = colour_legend(samples, meta)
    save_grid(tiles, heading, out, columns=min(4, len(tiles)), inches=2.5, legend=legend)
    return heading


def _class_tile(sample: Any, classes: Sequence[str]) -> Tile:
    label = int(sample.pred_label)
    name = classes[label].split(",")[0]  # ImageNet's classes have several names
    return read_image(sample), f"{name} ({float(sample.pred_score[label]):.0%})", True


def _dense_tiles(runner: Runner, sample: Any) -> list[Tile]:
    image, prediction = truth_and_prediction(runner.visualizer, sample, score_thr=0.5, names=False)
    name = Path(sample.img_path).stem
    return [(image, name, True), (prediction, f"{name}: prediction", True)]
