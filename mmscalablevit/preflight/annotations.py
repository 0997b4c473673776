"""The part of the preflight that reads annotations in COCO's format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmscalablevit.checks import datasets
from mmscalablevit.errors import Finding

LISTED = 5  # names in a message; the rest is counted


def listing(names: Sequence[object]) -> str:
    """Name the first ones and count the rest."""
    rest = len(names) - LISTED
    return ", ".join(map(str, names[:LISTED])) + (f" and {rest} more" if rest > 0 else "")


def coco_findings(split: str, dataset: Any) -> Iterator[Finding]:
    """Examine the annotation file of a data set in COCO's format; others have none of this."""
    path = getattr(dataset, "ann_file", "")
    if not hasattr(dataset, "cat2label") or not path or not Path(path).is_file():
        return
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        annotations = [ann for ann in content.get("annotations", []) if "bbox" in ann]
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: category["name"] for category in content["categories"]}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = "write it in COCO's format: images, annotations, categories"
        found = f"{path} cannot be read: {type(error).__name__} {error}"
        yield Finding(f"{split} annotations", "fail", found, remedy)
        return
    yield from category_findings(split, path, datasets.data_classes(dataset) or [], categories)
    yield box_finding(split, annotations, images, categories)


def category_findings(
    split: str, path: str, classes: Sequence[str], categories: Mapping[int, str]
) -> Iterator[Finding]:
    """Compare the names of the classes with those of the annotation file's categories."""
    name = f"{split} categories"
    names = set(categories.values())
    if lacking := [known for known in classes if known not in names]:
        found = f"{path} has no category {listing(lacking)}: labels of the others would shift"
        remedy = (
            f"spell metainfo.classes as the file does (it has {listing(sorted(names))}), and set "
            "num_classes to their number"
        )
        yield Finding(name, "fail", found, remedy)
    left = [known for known in categories.values() if known not in set(classes)]
    if left and not lacking:
        found = f"{len(left)} of {len(categories)} are not among the classes: {listing(left)}"
        remedy = "their boxes are left out; to train them, add them to metainfo.classes"
        yield Finding(name, "warn", found, remedy)


def box_finding(
    split: str,
    annotations: Sequence[Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    categories: Mapping[int, str],
) -> Finding:
    """Look through all boxes: their images, categories and areas."""
    name, faults = f"{split} boxes", Counter[str]()
    unknown = {ann["category_id"] for ann in annotations} - set(categories)
    for ann in annotations:
        x, y, width, height = ann["bbox"]
        image = images.get(ann["image_id"])
        if image is None:
            faults["of images that the file does not list"] += 1
        elif width < 1 or height < 1 or ann.get("area", 1) <= 0:
            faults["of no area (or a side below one pixel)"] += 1
        elif x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
            faults["outside their image"] += 1
    found = f"{len(annotations)} on {len({ann['image_id'] for ann in annotations})} images"
    if unknown:
        found += f"; category_id {listing(sorted(unknown))} is none of the file's categories"
        return Finding(name, "fail", found, "add the categories to the file, or correct the ids")
    if not annotations:
        return Finding(name, "fail", "no boxes at all", "look at the annotation file")
    if faults:
        found += "".join(f"; {number} {fault}" for fault, number in faults.items())
        status = "fail" if faults.total() == len(annotations) else "warn"
        remedy = "MMDetection leaves them out; correct or remove them if they are meant to count"
        return Finding(name, "fail" if status == "fail" else "warn", found, remedy)
    return Finding(name, "ok", found)
