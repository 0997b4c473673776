"""Annotation files in COCO's format, each read once."""

from __future__ import annotations

import codecs
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscalablevit.checks.classes import differing_numbers
from mmscalablevit.checks.configs import class_names, dataset_class, named_evaluators
from mmscalablevit.errors import Finding, first_line, listed
from mmscalablevit.evaluation.selection import type_name

# What MMDetection reads of each entry, and what to do where it is missing.
IMAGE_KEYS = {
    "id": "number the images",
    "file_name": "add the image's file as it lies below data_prefix",
    "height": "add the image's height in pixels",
    "width": "add the image's width in pixels",
}
OBJECT_KEYS = {
    "id": "number the annotations from 1",
    "image_id": "add the id of its image",
    "category_id": "add the id of its category",
    "bbox": "add [x, y, width, height] in pixels",
    "area": "add the mask's pixels, or width times height of the bbox",
}
CATEGORY_KEYS = {"id": "number the categories", "name": "name the class"}
CROWD = "add it: 0 for single objects, 1 for crowds, which are not counted"
OUTLINE = "add the object's outline, or take the annotation out"


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
    # Data sets with methods of their own may read other entries and number categories otherwise.
    classes = list(class_names(kind, dataset))
    methods = (kind.load_data_list, kind.parse_data_info)
    plain = all(method.__module__.startswith("mmdet.datasets.coco") for method in methods)
    try:
        file = AnnotationFile(split, path)
        if plain:
            lacking = list(file.key_findings())
            yield from lacking
            if lacking:
                return
            if loads_masks(dataset.get("pipeline")):
                yield from file.mask_findings(classes)
            if any(is_evaluated(path, entry) for _, entry in named_evaluators(cfg, split)):
                yield from file.evaluation_findings(classes)
        yield from file.category_findings(classes, plain)
        yield file.box_finding()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if plain:
            remedy = "copy it again, or write it in COCO's format: images, annotations, categories"
            found = f"{path} cannot be read: {first_line(error)}"
            yield Finding(f"{split} annotations", "fail", found, remedy)


def loads_masks(pipeline: Any) -> bool:
    """Tell whether a pipeline's settings load the masks of objects."""
    if isinstance(pipeline, Mapping):
        loads = type_name(dict(pipeline)) == "LoadAnnotations" and pipeline.get("with_mask")
        return bool(loads) or any(loads_masks(value) for value in pipeline.values())
    return isinstance(pipeline, (list, tuple)) and any(map(loads_masks, pipeline))


def is_evaluated(path: str, evaluator: Mapping[str, Any]) -> bool:
    """Tell whether an evaluator compares predictions with this file by COCO's programs."""
    return (
        type_name(dict(evaluator)) in ("CocoMetric", "CocoPanopticMetric")
        and not evaluator.get("format_only")
        and os.path.realpath(evaluator.get("ann_file") or "") == os.path.realpath(path)
    )


class AnnotationFile:
    """The content of an annotation file.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``, which begins the names of the findings.
        path: The file.

    Attributes:
        images: Its images.
        categories: Its categories.
        objects: All that is labelled: annotations, or the segments that panoptic ones consist of.
        panoptic: Whether they are segments.

    Raises:
        ValueError: It is no JSON.
        LookupError: It has no images or categories.
    """

    def __init__(self, split: str, path: str) -> None:
        self.split, self.path = split, path
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        self.images: list[dict[str, Any]] = content["images"]
        self.categories: list[dict[str, Any]] = content["categories"]
        self.objects: list[dict[str, Any]] = []
        self.panoptic = False
        for annotation in content.get("annotations", []):
            if "segments_info" in annotation:
                self.panoptic = True
                image = {"image_id": annotation["image_id"]}
                self.objects += ({**segment, **image} for segment in annotation["segments_info"])
            elif not annotation.get("ignore"):
                self.objects.append(annotation)

    def lacking_findings(
        self, name: str, kind: str, entries: Sequence[Mapping[str, Any]], keys: Mapping[str, str]
    ) -> Iterator[Finding]:
        """Say which entries lack keys.

        Args:
            name: Of the findings.
            kind: What an entry is.
            entries: Images, objects or categories.
            keys: What they need, each with what to do where it is missing.
        """
        for key, remedy in keys.items():
            lacking = [entry for entry in entries if entry.get(key) in (None, [], {})]
            if lacking:
                first = lacking[0].get("id", lacking[0].get("file_name", "without an id"))
                found = f"{self.path}: {kind} {first} has no {key}"
                if len(lacking) > 1:
                    found += f" (and {len(lacking) - 1} more of {len(entries)})"
                yield Finding(name, "fail", found, remedy)

    def key_findings(self) -> Iterator[Finding]:
        """Look for what the data set could not be read without."""
        name = f"{self.split} annotations"
        with open(self.path, "rb") as file:
            if file.read(3) == codecs.BOM_UTF8:
                found = f"{self.path} begins with a byte order mark"
                yield Finding(name, "fail", found, "save it as UTF-8 without one")
        yield from self.lacking_findings(name, "image", self.images, IMAGE_KEYS)
        yield from self.lacking_findings(name, "annotation", self.objects, OBJECT_KEYS)
        yield from self.lacking_findings(name, "category", self.categories, CATEGORY_KEYS)
        counts = Counter(item.get("id") for item in self.objects)
        repeated = [number for number, count in counts.items() if count > 1]
        if repeated and not self.panoptic:
            found = f"{self.path}: several annotations have the same id: {listed(repeated, 5)}"
            yield Finding(name, "fail", found, "give each a number of its own, from 1")

    def mask_findings(self, classes: Sequence[str]) -> Iterator[Finding]:
        """Look for objects without a mask, where masks are trained."""
        name, objects = f"{self.split} masks", self.objects_of(classes)
        yield from self.lacking_findings(name, "annotation", objects, {"segmentation": OUTLINE})

    def evaluation_findings(self, classes: Sequence[str]) -> Iterator[Finding]:
        """Look for what COCO's programs stumble over, or miscount, when they evaluate."""
        name, objects = f"{self.split} evaluation", self.objects_of(classes)
        yield from self.lacking_findings(name, "annotation", objects, {"iscrowd": CROWD})
        if not self.panoptic and any(item["id"] == 0 for item in objects):
            found = f"{self.path}: annotation id 0 counts as missed in the evaluation"
            yield Finding(name, "warn", found, "number the annotations from 1")

    def objects_of(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """The objects that are of some classes."""
        ids = {item["id"] for item in self.categories if item["name"] in classes}
        return [item for item in self.objects if item["category_id"] in ids]

    def category_findings(self, classes: Sequence[str], by_file: bool) -> Iterator[Finding]:
        """Compare the names of the classes with those of the file's categories.

        Args:
            classes: Names of the classes.
            by_file: Whether the data set numbers the categories in the file's order.
        """
        name, categories = f"{self.split} categories", [item["name"] for item in self.categories]
        numbered = [known for known in categories if known in classes]
        if lacking := [known for known in classes if known not in categories]:
            names = listed(lacking, 5)
            found = f"{self.path} has no category {names}: labels of the others would shift"
            remedy = (
                f"spell metainfo.classes as the file does (it has {listed(sorted(categories), 5)}),"
                " and set num_classes to their number"
            )
            yield Finding(name, "fail", found, remedy)
            return
        if by_file and (differing := differing_numbers(numbered, classes)):
            found = (
                f"{self.path} lists its categories in another order than metainfo.classes:"
                f" {differing}"
            )
            remedy = (
                "MMDetection numbers them as the file does; where all files have this order, list"
                f" metainfo.classes in it ({listed(numbered, 20)}), otherwise reorder the file"
            )
            yield Finding(name, "fail", found, remedy)
        if left := [known for known in categories if known not in classes]:
            count = f"{len(left)} of {len(categories)} categories"
            found = f"{self.path}: {count} are not among the classes: {listed(left, 5)}"
            remedy = "their boxes are left out; to train them, add them to metainfo.classes"
            yield Finding(name, "warn", found, remedy)

    def box_finding(self) -> Finding:
        """Look through all boxes: their images, categories and areas."""
        name, faults, total = f"{self.split} boxes", Counter[str](), len(self.objects)
        if not total:  # a test may be of images alone
            remedy = "look at this file, or name another one in ann_file"
            found = f"{self.path} has no boxes at all"
            return Finding(name, "warn" if self.split == "test" else "fail", found, remedy)
        images = {image["id"]: image for image in self.images}
        for item in self.objects:
            x, y, width, height = item["bbox"]
            image = images.get(item["image_id"])
            if image is None:
                faults["of images that the file does not list"] += 1
            elif width < 1 or height < 1 or item.get("area", 1) <= 0:
                faults["of no area (or a side below one pixel)"] += 1
            elif x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
                faults["outside their image"] += 1
        count = f"{total} on {len({item['image_id'] for item in self.objects})} images"
        known = {category["id"] for category in self.categories}
        if unknown := {item["category_id"] for item in self.objects} - known:
            ids = listed(sorted(unknown), 5)
            found = f"{self.path}: {count}; category_id {ids} is none of the file's categories"
            remedy = "add the categories to the file, or correct the ids"
            return Finding(name, "fail", found, remedy)
        if faults:
            listing = "".join(f"; {number} {fault}" for fault, number in faults.items())
            remedy = (
                "MMDetection leaves them out; correct or remove them if they are meant to count"
            )
            all_faulty = faults.total() == total
            found = f"{self.path}: {count}{listing}"
            return Finding(name, "fail" if all_faulty else "warn", found, remedy)
        return Finding(name, "ok", count)
