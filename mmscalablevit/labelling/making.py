"""Writing one label map for each image of a folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.utils import scandir
from mmpretrain.registry import TRANSFORMS
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmscalablevit import files
from mmscalablevit.datasets.token_labels import label_path
from mmscalablevit.errors import UsageError
from mmscalablevit.labelling.teachers import (
    deviation,
    has_linear_head,
    preprocess,
    score_positions,
)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")
MOST_CLASSES = 2048  # whole numbers that float16 tells apart
TOLERANCE = 1e-3  # of the logits' standard deviation


@dataclass
class Tally:
    """What the maps written so far say of the teacher.

    Attributes:
        maps: Number of maps.
        stored: Number of logits in them.
        negative: Number of these below 0.
        strongest: Sum of the largest logit of each position.
        positions: Number of positions.
        labelled: Images whose class is known.
        hits: How many of these the mean of the positions has at rank 1, and within rank 5.
    """

    maps: int = 0
    stored: int = 0
    negative: int = 0
    strongest: float = 0.0
    positions: int = 0
    labelled: int = 0
    hits: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, maps: Tensor, positions: Tensor, labels: Sequence[int | None]) -> None:
        """Count a batch.

        Args:
            maps: The label maps (B, 2, k, S, S).
            positions: All logits (B, S, S, K).
            labels: Classes of the images, where they are known.
        """
        logits = maps[:, 0]
        self.maps += len(maps)
        self.stored += logits.numel()
        self.negative += int((logits < 0).sum())
        self.strongest += float(logits[:, 0].float().sum())
        self.positions += logits[:, 0].numel()
        ranked = positions.mean((1, 2)).argsort(dim=1, descending=True)
        for order, label in zip(ranked.tolist(), labels, strict=True):
            if label is not None:
                self.labelled += 1
                self.hits[0] += label in order[:1]
                self.hits[1] += label in order[:5]

    def describe(self) -> Iterator[str]:
        """Say what was found, a line each."""
        if not self.maps:
            return
        if self.labelled:
            first, fifth = (100 * hits / self.labelled for hits in self.hits)
            yield (
                f"mean of the positions: top-1 {first:.2f} %, top-5 {fifth:.2f} % of"
                f" {self.labelled} images"
            )
        yield f"mean of the largest logits: {self.strongest / self.positions:.3f}"
        share = self.negative / self.stored
        yield f"stored logits below 0: {share:.2%}"
        if share > 0.05:
            yield (
                "warning: training takes classes that a map does not name for logits of 0, above"
                " these: choose a teacher whose largest logits are positive, or a smaller --topk"
            )


def list_images(root: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, in order.

    Raises:
        UsageError: There are none, or two would have one map.
    """
    if not root.is_dir():
        raise UsageError(f"IMAGE_ROOT {root} is no folder")
    found = scandir(str(root), suffix=IMAGE_SUFFIXES, recursive=True, case_sensitive=False)
    images = sorted(found)
    if not images:
        raise UsageError(f"IMAGE_ROOT {root} has no images ({', '.join(IMAGE_SUFFIXES)})")
    maps: dict[str, str] = {}
    for image in images:
        path = label_path(str(root / image), str(root))
        if path in maps:
            raise UsageError(f"{maps[path]} and {image} would have one label map: rename one")
        maps[path] = image
    return images


def known_labels(images: Sequence[str], num_classes: int) -> list[int | None]:
    """Classes of the images, if the folder has one folder for each class, in their order."""
    folders = [Path(image).parts[0] for image in images]
    labels = {name: label for label, name in enumerate(sorted(set(folders)))}
    if len(labels) != num_classes:
        return [None] * len(images)
    return [labels[folder] for folder in folders]


class Squares(Dataset):
    """Images as squares of one size, (3, size, size) in uint8, BGR.

    Args:
        paths: The images.
        size: Side in pixels.
        center_crop: Take the central square instead of squeezing the whole image.
    """

    def __init__(self, paths: Sequence[Path], size: int, center_crop: bool) -> None:
        init_default_scope("mmpretrain")
        resizing = {"backend": "pillow", "interpolation": "bicubic"}
        if center_crop:
            steps = [
                {"type": "ResizeEdge", "scale": size, "edge": "short", **resizing},
                {"type": "CenterCrop", "crop_size": size},
            ]
        else:
            steps = [{"type": "Resize", "scale": (size, size), **resizing}]
        steps = [{"type": "LoadImageFromFile"}, *steps, {"type": "PackInputs"}]
        self.paths = paths
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Image number ``index``, and the number.

        Raises:
            ValueError: It cannot be read; the message names it.
        """
        path = str(self.paths[index])
        try:
            return {"inputs": self.pipeline({"img_path": path})["inputs"], "index": index}
        except (AssertionError, OSError, cv2.error) as error:
            raise ValueError(f"failed to load image: {path}") from error


def to_label_maps(positions: Tensor, topk: int) -> Tensor:
    """The largest logits and their classes.

    Args:
        positions: Logits (B, S, S, K).
        topk: How many of them.

    Returns:
        (B, 2, k, S, S) in float16.
    """
    top = positions.float().topk(topk, dim=-1)
    return torch.stack((top.values.half(), top.indices.half()), dim=1).movedim(-1, 2)


def write_label_map(path: Path, maps: Tensor) -> None:
    """Write one label map, whole or not at all."""
    content = io.BytesIO()
    torch.save(maps.clone(), content)  # of a slice, torch writes all that it is cut from
    files.write_whole(path, content.getvalue())


@dataclass(frozen=True)
class Settings:
    """How label maps are made.

    Attributes:
        size: Side of the images that the teacher takes.
        topk: Classes at each position.
        batch_size: Images at a time.
        workers: Processes that read images.
        center_crop: Label the central square alone, as the released generator does.
        amp: Compute in half precision.
        overwrite: Write maps anew that exist.
    """

    size: int
    topk: int = 5
    batch_size: int = 32
    workers: int = 2
    center_crop: bool = False
    amp: bool = False
    overwrite: bool = False


class Maker:
    """Makes the label maps of a folder of images.

    Args:
        model: The teacher, in evaluation mode.
        image_root: Folder of the images.
        label_root: Folder of the maps.
        settings: How they are made.

    Attributes:
        pending: The images that have no map yet, relative to ``image_root``.
        existing: Number of images that have one.
        notes: What the user should know before the maps are made.
        tally: What the maps that were written say of the teacher.

    Raises:
        UsageError: The teacher, or the images, cannot be used.
    """

    def __init__(
        self, model: BaseModel, image_root: Path, label_root: Path, settings: Settings
    ) -> None:
        self.model = model
        self.image_root = image_root
        self.label_root = label_root
        self.settings = settings
        self.tally = Tally()
        self.notes: list[str] = []
        images = list_images(image_root)
        self.pending = [
            image for image in images if settings.overwrite or not is_whole(self.map_of(image))
        ]
        self.existing = len(images) - len(self.pending)
        self.labels: dict[str, int | None] = {}
        if self.pending:
            classes = self.examine()
            self.labels = dict(zip(images, known_labels(images, classes), strict=True))

    def map_of(self, image: str) -> Path:
        """Path of an image's map."""
        return self.label_root / label_path(image, "")

    def load(self, images: Sequence[str]) -> DataLoader:
        """Batches of images."""
        paths = [self.image_root / image for image in images]
        return DataLoader(
            Squares(paths, self.settings.size, self.settings.center_crop),
            self.settings.batch_size,
            num_workers=self.settings.workers,
            collate_fn=pseudo_collate,
        )

    def examine(self) -> int:
        """Try the teacher on the first images.

        Returns:
            Its number of classes.

        Raises:
            UsageError: It cannot be used.
        """
        batch = next(iter(self.load(self.pending[: self.settings.batch_size])))
        with torch.inference_mode():
            positions, logits = score_positions(self.model, preprocess(self.model, batch))
            apart = deviation(positions, logits)
        classes = positions.shape[-1]
        if classes > MOST_CLASSES:
            raise UsageError(
                f"the teacher has {classes} classes, and a label map can name {MOST_CLASSES}"
            )
        if classes < self.settings.topk:
            raise UsageError(f"--topk {self.settings.topk}: the teacher has {classes} classes")
        if not positions.isfinite().all():
            raise UsageError("the teacher's logits are infinite or no numbers: look at its weights")
        if apart > TOLERANCE:
            found = (
                f"the mean of the positions' logits is not the classifier's: they are up to"
                f" {apart:.1g} standard deviations apart"
            )
            if has_linear_head(self.model):
                raise UsageError(
                    f"{found}, though its head is linear: the backbone does more than to pool"
                    " behind its last map"
                )
            self.notes.append(f"{found}. Its head is not linear, so that this may be")
        return classes

    def run(self) -> Iterator[int]:
        """Make the maps that are missing.

        Yields:
            The number of images of each batch, once their maps are written.
        """
        device = next(self.model.parameters()).device.type
        dtype = torch.float16 if device == "cuda" else torch.bfloat16
        for batch in self.load(self.pending):
            images = [self.pending[index] for index in batch["index"]]
            with torch.inference_mode(), torch.autocast(device, dtype, enabled=self.settings.amp):
                positions, _ = score_positions(self.model, preprocess(self.model, batch))
                maps = to_label_maps(positions, self.settings.topk).cpu()
            self.tally.add(maps, positions, [self.labels[image] for image in images])
            with ThreadPoolExecutor() as pool:  # each waits for the disk
                list(pool.map(write_label_map, map(self.map_of, images), maps))
            yield len(images)


def is_whole(path: Path) -> bool:
    """Whether a label map exists and was written to its end, where a file of torch has its list."""
    return path.is_file() and zipfile.is_zipfile(path)
