"""A model run on image files, and what it predicts written beside pictures of it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from PIL import Image

from mmscalablevit.cli.building import load_model
from mmscalablevit.errors import UsageError, first_line
from mmscalablevit.evaluation.outputs import without_labels
from mmscalablevit.evaluation.selection import innermost_datasets
from mmscalablevit.files import write_json, write_whole
from mmscalablevit.hooks import pictures
from mmscalablevit.models.pyramid import InputError
from mmscalablevit.prediction.records import describe

# Folders of the results, and the suffix of the files in them.
PREDICTIONS, PICTURES, LABELS = "predictions", "pictures", "labels"
KINDS = {PREDICTIONS: ".json", PICTURES: ".png", LABELS: ".png"}


@dataclass(frozen=True)
class Settings:
    """How predictions are made and written.

    Attributes:
        batch_size: Images that go through the model together, if they have one size.
        score_threshold: Objects with a lower score are neither written nor drawn.
        top_k: How many of the likeliest classes of a classified image are listed.
        pictures: Draw the predictions, too.
    """

    batch_size: int = 1
    score_threshold: float = 0.3
    top_k: int = 5
    pictures: bool = True


def result_file(out: Path, kind: str, name: str) -> Path:
    """Path of what is written of an image, one of :data:`KINDS`."""
    return out / kind / f"{name}{KINDS[kind]}"


class Predictor:
    """A config's model with its checkpoint, and the steps by which its test reads images.

    Args:
        cfg: The config.
        checkpoint: Its checkpoint, or a file of ``tools/export.py``. Its names of the classes come
            before the config's.
        device: Where the model runs.
        settings: How predictions are made and written.

    Raises:
        UsageError: The config has no data set to test on, or there is no such device.
        CheckpointError: The checkpoint cannot be read, or is another model's.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str, settings: Settings) -> None:
        if not cfg.get("test_dataloader"):
            raise UsageError(f"{cfg.filename} has no test_dataloader, whose pipeline reads images")
        try:
            torch.empty(1, device=device)
        except (AssertionError, RuntimeError) as error:  # CUDA that torch lacks is asserted
            raise UsageError(f"--device {device}: {first_line(error)}") from error
        self.settings = settings
        self.model, meta = load_model(cfg, checkpoint, device)
        dataset = innermost_datasets(cfg.test_dataloader.dataset)[0]
        named = DATASETS.build({**dataset, "lazy_init": True}).metainfo  # reads no data
        self.meta = {**named, **meta}
        self.steps = Compose(without_labels(dataset.pipeline))

    def run(self, names: Mapping[Path, str], out: Path) -> Iterator[tuple[Path, str]]:
        """Predict images, and write the results of each below a folder.

        Args:
            names: The images, with the names of their results.
            out: The folder.

        Yields:
            Each image, and why it was left out; an empty text for those that were not.

        Raises:
            UsageError: A file cannot be written, or the model predicts something unknown.
        """
        waiting = iter(names)
        while batch := list(itertools.islice(waiting, self.settings.batch_size)):
            read: list[tuple[Path, dict]] = []
            for image in batch:
                try:
                    read.append((image, self.steps({"img_path": str(image), "img_id": 0})))
                except OSError as error:
                    yield image, str(error.strerror)
                except (AssertionError, cv2.error):  # what MMCV and OpenCV make of such files
                    yield image, "cannot be decoded: it is damaged or no image"
            # The frameworks stack images of one size, or pad them, which changes the results.
            read.sort(key=lambda item: _shape(item[1]))
            for _, group in itertools.groupby(read, key=lambda item: _shape(item[1])):
                images, inputs = zip(*group, strict=True)
                try:
                    with torch.inference_mode():
                        samples = self.model.test_step(pseudo_collate(inputs))
                except InputError as error:
                    yield from ((image, str(error)) for image in images)
                    continue
                for image, sample in zip(images, samples, strict=True):
                    self.write(sample, names[image], out)
                    yield image, ""

    def write(self, sample: Any, name: str, out: Path) -> None:
        """Write what is predicted of an image.

        Raises:
            UsageError: A file cannot be written.
        """
        settings, labels = self.settings, pictures.label_map(sample, "pred")
        height, width = sample.ori_shape[:2]
        record = {"file": str(sample.img_path), "width": width, "height": height}
        record |= describe(sample, self.meta, settings.score_threshold, settings.top_k)
        try:
            if "pred_sem_seg" in sample and labels is not None:
                file = result_file(out, LABELS, name)
                write_whole(file, encode_labels(labels))
                record["label_map"] = file.relative_to(out).as_posix()
            if settings.pictures:
                file = result_file(out, PICTURES, name)
                pictures.save_picture(
                    sample, self.meta, file, settings.score_threshold, truth=False
                )
            write_json(result_file(out, PREDICTIONS, name), record)  # last: all is there then
        except OSError as error:
            raise UsageError(f"cannot write to {out}: {error.strerror}") from error


def _shape(inputs: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(inputs["inputs"].shape)


def encode_labels(labels: np.ndarray) -> bytes:
    """Encode a label map (H, W) as a PNG of one channel, of 16 bits where 8 are too few."""
    kind = np.uint8 if labels.max() < 256 else np.uint16
    content = io.BytesIO()
    Image.fromarray(labels.astype(kind)).save(content, format="PNG")
    return content.getvalue()
