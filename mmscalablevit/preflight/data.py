"""The part of the preflight that looks at the data: files, images, classes and labels."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import ExifTags, Image
from torch.utils.data import DataLoader

from mmscalablevit.checks import datasets
from mmscalablevit.checks.datasets import named_datasets
from mmscalablevit.checks.samples import inner_datasets
from mmscalablevit.errors import Finding
from mmscalablevit.evaluation.selection import list_evaluators
from mmscalablevit.models.pyramid import MIN_INPUT_SIZE
from mmscalablevit.preflight import annotations as preflight_annotations


def path_findings(cfg: Config, loader: str) -> list[Finding]:
    """Check that what the data sets of a loader, and its evaluator, name exists."""
    split = loader.removesuffix("_dataloader")
    findings = []
    for place, dataset in named_datasets(cfg, loader):
        if missing := datasets.missing_paths(dataset):
            found = datasets.describe_missing(place, missing)
            findings.append(Finding(f"{split} files", "fail", found, datasets.remedy(place)))
    key = f"{split}_evaluator"
    for evaluator in list_evaluators(Config({"test_evaluator": cfg.get(key)})):
        path = evaluator.get("ann_file") if isinstance(evaluator, Mapping) else None
        if isinstance(path, str) and "://" not in path and not Path(path).is_file():
            found = f"{key}: ann_file {path} does not exist"
            remedy = f"name the annotations of {loader}: --cfg-options {key}.ann_file=FILE"
            findings.append(Finding(f"{split} files", "fail", found, remedy))
    return findings


def build_loader(cfg: Config, loader: str) -> DataLoader:
    """Build a data loader of the config that reads in this process."""
    settings = cfg[loader].copy()
    settings.num_workers = 0
    settings.persistent_workers = False
    for key in ("prefetch_factor", "multiprocessing_context", "pin_memory"):
        settings.pop(key, None)
    return Runner.build_dataloader(settings, seed=0)


def data_findings(cfg: Config, split: str, loader: DataLoader, count: int) -> Iterator[Finding]:
    """Examine the data sets of a built loader.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        loader: Its data loader.
        count: How many images of each data set to read.

    Yields:
        What was found about the number of samples, classes, annotations, images and labels.
    """
    whole: Any = loader.dataset
    size = len(whole)
    if size == 0 or len(loader) == 0:
        found = f"{size} samples make {len(loader)} batches of {loader.batch_size}"
        remedy = (
            f"look at {split}_dataloader: its ann_file, data_prefix, the suffixes of the files, "
            "filter_cfg, metainfo.classes (names as in the annotations), batch_size and drop_last"
        )
        yield Finding(f"{split} data", "fail", found, remedy)
    else:
        yield Finding(f"{split} data", "ok", f"{size} samples, {len(loader)} batches")
    for dataset in inner_datasets(whole):
        if not hasattr(dataset, "get_data_info"):
            found = f"not examined: {type(dataset).__name__} is none of MMEngine's data sets"
            yield Finding(f"{split} images", "warn", found, "examine its images yourself")
            continue
        yield class_finding(cfg, split, dataset)
        yield from preflight_annotations.coco_findings(split, dataset)
        yield from label_findings(cfg, split, dataset)
        if len(dataset):
            yield from sample_findings(cfg, split, dataset, count)


def class_finding(cfg: Config, split: str, dataset: Any) -> Finding:
    """Compare the data set's classes with the model's."""
    name = f"{split} classes"
    if different := datasets.compare_classes(cfg.model, dataset):
        found, remedy, fatal = different
        return Finding(name, "fail" if fatal else "warn", found, remedy)
    classes = datasets.data_classes(dataset)
    if classes is None:
        return Finding(name, "ok", "the data set names none")
    return Finding(name, "ok", f"{len(classes)}, as many as the model has")


def label_findings(cfg: Config, split: str, dataset: Any) -> Iterator[Finding]:
    """Check the labels of a classification data set, all of them."""
    heads = [value for place, value in datasets.model_classes(cfg.model).items() if "head" in place]
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
    if used < classes:
        remedy = "fine for a part of the data; otherwise look at the folders of the classes"
        yield Finding(name, "warn", found, remedy)
    else:
        yield Finding(name, "ok", found)


class Samples:
    """What reading a sample of images has found.

    Attributes:
        problems: Each kind of fault with the files that have it.
        sizes: Width and height of each image.
        kinds: How many images are of an unusual kind.
        labels: How often each label value occurs, over all label maps.
        maps: How many label maps were read.
    """

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        self.sizes: list[tuple[int, int]] = []
        self.kinds: Counter[str] = Counter()
        self.labels: Counter[int] = Counter()
        self.maps = 0

    def add_problem(self, kind: str, text: str) -> None:
        """Note a fault of a file."""
        self.problems.setdefault(kind, []).append(text)


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


def examine_image(path: str, samples: Samples) -> tuple[int, int] | None:
    """Read an image to its end.

    Returns:
        Its width and height as the frameworks load it, turned as its EXIF tag says; None if it
        cannot be read.
    """
    if not Path(path).is_file():
        samples.add_problem("missing", f"{path} does not exist")
        return None
    try:
        with Image.open(path) as image:
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            size, mode = image.size, image.mode
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damage
        samples.add_problem("damaged", f"{path}: {error}")
        return None
    if mode in MODES:
        samples.kinds[MODES[mode]] += 1
    if orientation != 1:
        samples.kinds["rotated by an EXIF tag"] += 1
    if orientation in (5, 6, 7, 8):
        size = size[1], size[0]
    samples.sizes.append(size)
    return size


def examine_map(info: dict, size: tuple[int, int] | None, load: Any, samples: Samples) -> None:
    """Read a label map, by itself and as the data pipeline does."""
    path = str(info["seg_map_path"])
    if not Path(path).is_file():
        samples.add_problem("missing", f"{path} does not exist")
        return
    try:
        with Image.open(path) as image:
            raw = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        samples.add_problem("damaged", f"{path}: {error}")
        return
    if raw.ndim != 2:
        samples.add_problem("map", f"{path} has {raw.shape[2]} channels")
        return
    if raw.max() > 255:
        samples.add_problem("map", f"{path} has values up to {raw.max()}, cut to 8 bits on loading")
        return
    if size and raw.shape != size[::-1]:
        width, height = size
        text = f"{path} is {raw.shape[1]}x{raw.shape[0]}, its image {width}x{height}"
        samples.add_problem("pair", text)
    labels = load({**info, "seg_fields": []})["gt_seg_map"] if load else raw
    values, counts = np.unique(labels, return_counts=True)
    samples.labels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    samples.maps += 1


def sample_findings(cfg: Config, split: str, dataset: Any, count: int) -> Iterator[Finding]:
    """Read a sample of the images, and of the label maps if there are any."""
    chosen = sorted(random.Random(0).sample(range(len(dataset)), min(count, len(dataset))))
    samples = Samples()
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    loaders = [step for step in transforms if type(step).__name__ == "LoadAnnotations"]
    segmentation = cfg.get("default_scope") == "mmseg" and bool(loaders)
    for index in chosen:
        info = dataset.get_data_info(index)
        path = str(info.get("img_path") or "")
        if not path or "://" in path:
            continue
        size = examine_image(path, samples)
        stated = (info.get("width"), info.get("height"))
        if size and all(stated) and stated != size:
            text = f"{path} is {size[0]}x{size[1]}, its annotations say {stated[0]}x{stated[1]}"
            samples.add_problem("size", text)
        if segmentation and info.get("seg_map_path"):
            examine_map(info, size, loaders[0], samples)
    yield from report_images(split, len(chosen), len(dataset), samples)
    if samples.maps:
        yield report_map_labels(cfg, split, samples)


def report_images(split: str, read: int, total: int, samples: Samples) -> Iterator[Finding]:
    """Say what the sample of images was like."""
    name = f"{split} images"
    for kind, texts in samples.problems.items():
        rest = f" (and {len(texts) - 1} more of {read})" if len(texts) > 1 else ""
        yield Finding(name, "fail", texts[0] + rest, REMEDIES[kind])
    if not samples.sizes:
        return
    shapes = sorted(samples.sizes, key=lambda size: size[0] * size[1])
    small, large = ("{}x{}".format(*size) for size in (shapes[0], shapes[-1]))
    found = f"{len(samples.sizes)} of {total} read, {small}"
    found += f" to {large}" if large != small else ""
    for kind, number in samples.kinds.items():
        found += f"; {number} {kind}"
    if min(min(size) for size in samples.sizes) < MIN_INPUT_SIZE:
        yield Finding(name, "warn", found, REMEDIES["small"])
    elif not samples.problems:
        yield Finding(name, "ok", found)


def report_map_labels(cfg: Config, split: str, samples: Samples) -> Finding:
    """Compare the values in label maps with the classes of the decode head."""
    name, head = f"{split} labels", cfg.model.get("decode_head") or {}
    head = head[-1] if isinstance(head, (list, tuple)) else head
    classes, ignored = head.get("num_classes"), head.get("ignore_index", 255)
    values = sorted(value for value in samples.labels if value != ignored)
    if not values:
        found = f"all pixels of {samples.maps} label maps are {ignored}, which is ignored"
        return Finding(name, "fail", found, "look at reduce_zero_label and the label maps")
    found = f"values {values[0]} to {values[-1]} in {samples.maps} label maps"
    beyond = [value for value in values if classes is not None and value >= classes]
    if beyond:
        found += f": {', '.join(map(str, beyond[:5]))} beyond the model's {classes} classes"
        remedy = (
            f"correct the label maps, raise num_classes of the heads to {values[-1] + 1}, or mark "
            f"what belongs to no class with {ignored}; reduce_zero_label=True in the data set "
            "where 0 means no class"
        )
        return Finding(name, "fail", found, remedy)
    ignoring = samples.labels[ignored] / samples.labels.total()
    return Finding(name, "ok", f"{found}, {classes} classes; {ignoring:.0%} of the pixels ignored")
