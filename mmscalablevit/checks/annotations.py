"""Annotation files in COCO's format, each read once."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from mmscalablevit.checks.classes import differing_numbers
from mmscalablevit.errors import Finding, first_line, listed


def coco_findings(cfg: Config, split: str, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    """Examine the annotation file of a data set in COCO's format; others have none of this.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: The data set's settings.
    """
    kind = dataset_class(cfg, dataset)
    path = os.path.join(dataset.get("data_root") or "", dataset.get("ann_file") or "")
    if not hasattr(kind, "COCOAPI") or not os.path.isfile(path):
        return
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        objects = list_objects(content.get("annotations", []))
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: category["name"] for category in content["categories"]}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "copy it again, or write it in COCO's format: images, annotations, categories"
        found = f"{path} cannot be read: {first_line(error)}"
        yield Finding(f"{split} annotations", "fail", found, remedy)
        return
    classes = class_names(kind, dataset)
    yield from category_findings(split, path, classes, list(categories.values()))
    # Other data sets than MMDetection's basic one may number their categories themselves.
    if kind.load_data_list.__module__ == "mmdet.datasets.coco":
        yield from order_findings(split, path, classes, list(categories.values()))
    yield box_finding(split, path, objects, images, categories)


def dataset_class(cfg: Config, dataset: Mapping[str, Any]) -> Any:
    """The class that a data set's settings name; None if there is none of that name."""
    kind = dataset["type"]
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        return registry.get(kind) if isinstance(kind, str) else kind


def class_names(kind: Any, dataset: Mapping[str, Any]) -> list[str]:
    """Names of the classes that a data set's settings, or else its class, state."""
    stated = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    classes = stated.get("classes") or []
    return list_from_file(classes) if isinstance(classes, str) else list(classes)


def list_objects(annotations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All boxes of a file: its annotations, or the segments that panoptic ones consist of."""
    objects: list[Mapping[str, Any]] = []
    for annotation in annotations:
        segments = annotation.get("segments_info")
        if segments is not None:
            objects += ({**segment, "image_id": annotation["image_id"]} for segment in segments)
        elif "bbox" in annotation:
            objects.append(annotation)
    return objects


def category_findings(
    split: str, path: str, classes: Sequence[str], categories: Sequence[str]
) -> Iterator[Finding]:
    """Compare the names of the classes with those of the annotation file's categories."""
    name = f"{split} categories"
    if lacking := [known for known in classes if known not in categories]:
        found = f"{path} has no category {listed(lacking, 5)}: labels of the others would shift"
        remedy = (
            f"spell metainfo.classes as the file does (it has {listed(sorted(categories), 5)}), and"
            " set num_classes to their number"
        )
        yield Finding(name, "fail", found, remedy)
    elif left := [known for known in categories if known not in classes]:
        count = f"{len(left)} of {len(categories)} categories"
        found = f"{path}: {count} are not among the classes: {listed(left, 5)}"
        remedy = "their boxes are left out; to train them, add them to metainfo.classes"
        yield Finding(name, "warn", found, remedy)


def order_findings(
    split: str, path: str, classes: Sequence[str], categories: Sequence[str]
) -> Iterator[Finding]:
    """Compare the order of the classes with the file's, by which MMDetection numbers them."""
    numbered = [known for known in categories if known in classes]
    if len(numbered) >= len(classes) and (differing := differing_numbers(numbered, classes)):
        found = f"{path} lists its categories in another order than metainfo.classes: {differing}"
        remedy = (
            "MMDetection numbers them as the file does; where all files have this order, list"
            f" metainfo.classes in it ({listed(numbered, 20)}), otherwise reorder the file"
        )
        yield Finding(f"{split} categories", "fail", found, remedy)


def box_finding(
    split: str,
    path: str,
    objects: Sequence[Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    categories: Mapping[int, str],
) -> Finding:
    """Look through all boxes of a file: their images, categories and areas."""
    name, faults = f"{split} boxes", Counter[str]()
    if not objects:
        remedy = "look at this file, or name another one in ann_file"
        # A test may be of images alone.
        return Finding(
            name, "warn" if split == "test" else "fail", f"{path} has no boxes at all", remedy
        )
    for item in objects:
        x, y, width, height = item["bbox"]
        image = images.get(item["image_id"])
        if image is None:
            faults["of images that the file does not list"] += 1
        elif width < 1 or height < 1 or item.get("area", 1) <= 0:
            faults["of no area (or a side below one pixel)"] += 1
        elif x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
            faults["outside their image"] += 1
    count = f"{len(objects)} on {len({item['image_id'] for item in objects})} images"
    if unknown := {item["category_id"] for item in objects} - set(categories):
        ids = listed(sorted(unknown), 5)
        found = f"{path}: {count}; category_id {ids} is none of the file's categories"
        return Finding(name, "fail", found, "add the categories to the file, or correct the ids")
    if faults:
        listing = "".join(f"; {number} {fault}" for fault, number in faults.items())
        remedy = "MMDetection leaves them out; correct or remove them if they are meant to count"
        all_faulty = faults.total() == len(objects)
        return Finding(name, "fail" if all_faulty else "warn", f"{path}: {count}{listing}", remedy)
    return Finding(name, "ok", count)
