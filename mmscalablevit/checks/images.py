"""A sample of a data set's images and label maps, read to their ends."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import ExifTags, Image

from mmscalablevit.checks.classes import data_classes
from mmscalablevit.checks.label_maps import decode_heads
from mmscalablevit.errors import Finding, listed
from mmscalablevit.models.pyramid import MIN_INPUT_SIZE

# What each kind of fault asks for.
REMEDIES = {
    "missing": "put the files there, or take them out of the annotations",
    "damaged": "copy these files again: training would read them as far as they go, or stop",
    "size": "correct the annotations, or store the images turned upright and without an EXIF tag",
    "pair": "store the image and its label map in the same size, both turned upright",
    "small": f"resize or pad in the pipeline: the backbone needs {MIN_INPUT_SIZE} pixels a side",
    "map": "store label maps as 8-bit images of one channel with the numbers of the classes",
}

MODES = {
    "1": "black and white", "L": "grayscale", "LA": "grayscale with alpha", "P": "palette",
    "RGBA": "with alpha", "PA": "palette with alpha", "CMYK": "CMYK", "I;16": "16-bit",
    "I": "16- or 32-bit", "F": "floating-point",
}  # fmt: skip


def image_findings(cfg: Config, split: str, dataset: Any, count: int) -> Iterator[Finding]:
    """Read a sample of the images of a built data set, and of the label maps if there are any.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: One of MMEngine's data sets; the images of others are not examined.
        count: How many images to read.
    """
    if not hasattr(dataset, "get_data_info"):
        found = f"not examined: {type(dataset).__name__} is none of MMEngine's data sets"
        yield Finding(f"{split} images", "warn", found, "examine its images yourself")
        return
    sample = read_sample(cfg, dataset, count)
    yield from sample.describe_images(f"{split} images", len(dataset))
    if sample.maps:
        yield sample.judge_labels(f"{split} labels", cfg.model, dataset)


def map_findings(cfg: Config, split: str, dataset: Any, count: int) -> Iterator[Finding]:
    """Read a sample of a built data set's label maps for what its batches do not tell.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: The data set.
        count: How many to read.

    Yields:
        Label maps of another kind or size than is needed, and values that may not be meant.
    """
    if map_loader(cfg, dataset) is None:
        return
    sample = read_sample(cfg, dataset, count)
    yield from sample.describe_faults(f"{split} images", ("map", "pair"))
    if sample.maps:
        judged = sample.judge_labels(f"{split} labels", cfg.model, dataset)
        if judged.status == "warn":  # others depend on what the pipeline makes of them
            yield judged


def read_sample(cfg: Config, dataset: Any, count: int) -> Sample:
    """Read so many images of a built data set, and their label maps if there are any."""
    load, sample = map_loader(cfg, dataset), Sample()
    for index in choose(dataset, count):
        info = dataset.get_data_info(index)
        path = str(info.get("img_path") or "")
        if not path or "://" in path:
            continue
        size = sample.read_image(path)
        stated = (info.get("width"), info.get("height"))
        if size and all(stated) and stated != size:
            text = f"{path} is {size[0]}x{size[1]}, its annotations say {stated[0]}x{stated[1]}"
            sample.problems["size"].append(text)
        if load and info.get("seg_map_path"):
            sample.read_map(info, size, load)
    return sample


def choose(dataset: Any, count: int) -> list[int]:
    """Draw so many samples of a data set, always the same ones."""
    return sorted(random.Random(0).sample(range(len(dataset)), min(count, len(dataset))))


def map_loader(cfg: Config, dataset: Any) -> Callable[[dict], dict] | None:
    """The step of a built data set's pipeline that loads label maps, if it segments."""
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    loaders = [step for step in steps if type(step).__name__ == "LoadAnnotations"]
    return loaders[0] if loaders and cfg.get("default_scope") == "mmseg" else None


class Sample:
    """What reading a sample of images has found.

    Attributes:
        read: How many images were looked at.
        problems: Each kind of fault with the files that have it.
        sizes: Width and height of each image.
        kinds: How many images are of an unusual kind.
        labels: How often each label value occurs, over all label maps.
        maps: How many label maps were read.
    """

    def __init__(self) -> None:
        self.read = 0
        self.problems: defaultdict[str, list[str]] = defaultdict(list)
        self.sizes: list[tuple[int, int]] = []
        self.kinds: Counter[str] = Counter()
        self.labels: Counter[int] = Counter()
        self.maps = 0

    def _open(self, path: str) -> Image.Image | None:
        """Read an image file to its end; None, and a problem more, if it cannot be read."""
        if not Path(path).is_file():
            self.problems["missing"].append(f"{path} does not exist")
            return None
        try:
            with Image.open(path) as image:
                image.load()
                return image
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damage
            self.problems["damaged"].append(f"{path}: {error}")
            return None

    def read_image(self, path: str) -> tuple[int, int] | None:
        """Read an image.

        Returns:
            Its width and height as the frameworks load it, turned as its EXIF tag says; None if it
            cannot be read.
        """
        self.read += 1
        image = self._open(path)
        if image is None:
            return None
        orientation, size = image.getexif().get(ExifTags.Base.Orientation, 1), image.size
        if image.mode in MODES:
            self.kinds[MODES[image.mode]] += 1
        if orientation != 1:
            self.kinds["rotated by an EXIF tag"] += 1
        if orientation in (5, 6, 7, 8):
            size = size[1], size[0]
        self.sizes.append(size)
        return size

    def read_map(
        self, info: dict, size: tuple[int, int] | None, load: Callable[[dict], dict]
    ) -> None:
        """Read a label map, by itself and as the data pipeline does.

        Args:
            info: What the data set says of the image.
            size: Width and height of the image; None if it could not be read.
            load: The pipeline's step that loads label maps.
        """
        path = str(info["seg_map_path"])
        image = self._open(path)
        if image is None:
            return
        raw = np.asarray(image)
        if raw.ndim != 2:
            self.problems["map"].append(f"{path} has {raw.shape[2]} channels")
            return
        if raw.max() > 255:
            text = f"{path} has values up to {raw.max()}, cut to 8 bits on loading"
            self.problems["map"].append(text)
            return
        if size and image.size != size:
            text = f"{path} is {raw.shape[1]}x{raw.shape[0]}, its image {size[0]}x{size[1]}"
            self.problems["pair"].append(text)
        labels = load({**info, "seg_fields": []})["gt_seg_map"]
        values, counts = np.unique(labels, return_counts=True)
        self.labels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        self.maps += 1

    def describe_faults(self, name: str, kinds: Iterable[str] = REMEDIES) -> Iterator[Finding]:
        """Say which files have faults of these kinds."""
        for kind in kinds:
            if texts := self.problems.get(kind):
                rest = f" (and {len(texts) - 1} more of {self.read})" if len(texts) > 1 else ""
                yield Finding(name, "fail", texts[0] + rest, REMEDIES[kind])

    def describe_images(self, name: str, total: int) -> Iterator[Finding]:
        """Say what the images were like, of so many in all."""
        yield from self.describe_faults(name)
        if not self.sizes:
            return
        shapes = sorted(self.sizes, key=lambda size: size[0] * size[1])
        small, large = ("{}x{}".format(*size) for size in (shapes[0], shapes[-1]))
        found = f"{len(self.sizes)} of {total} read, {small}"
        found += f" to {large}" if large != small else ""
        found += "".join(f"; {number} {kind}" for kind, number in self.kinds.items())
        if min(min(size) for size in self.sizes) < MIN_INPUT_SIZE:
            yield Finding(name, "warn", found, REMEDIES["small"])
        elif not self.problems:
            yield Finding(name, "ok", found)

    def judge_labels(self, name: str, model: Mapping[str, Any], dataset: Any) -> Finding:
        """Compare the values in the label maps with the classes of the decode head."""
        head = next(iter(decode_heads(model).values()), {})
        classes, ignored = head.get("num_classes"), head.get("ignore_index", 255)
        values = sorted(value for value in self.labels if value != ignored)
        if not values:
            found = f"all pixels of {self.maps} label maps are {ignored}, which is ignored"
            return Finding(name, "fail", found, "look at reduce_zero_label and the label maps")
        found = f"values {values[0]} to {values[-1]} in {self.maps} label maps"
        if beyond := [value for value in values if classes is not None and value >= classes]:
            found += f": {listed(beyond, 5)} beyond the model's {classes} classes"
            remedy = (
                f"correct the label maps, raise num_classes of the heads to {values[-1] + 1}, or"
                f" mark what belongs to no class with {ignored}; reduce_zero_label=True in the data"
                " set where 0 means no class"
            )
            return Finding(name, "fail", found, remedy)
        share = self.labels[ignored] / self.labels.total()
        found += f", {classes} classes; {share:.0%} of the pixels ignored"
        lacking = [number for number in range(classes or 0) if number not in self.labels]
        if not lacking or (self.maps < len(dataset) and len(values) > 1):  # may be in other maps
            return Finding(name, "ok", found)
        names = dict(enumerate(data_classes(dataset.metainfo) or ()))
        named = [f"{number} ({names[number]})" if number in names else number for number in lacking]
        remedy = "look at the label maps; fine if they are a part of the data"
        if share and len(lacking) == 1:
            remedy = f"if {ignored} stands for {named[0]}, write {lacking[0]} in its place"
        return Finding(name, "warn", f"{found}; no pixel of {listed(named, 5)}", remedy)
