"""Annotations in Pascal VOC's format: a list of images, and an XML file for each."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from mmengine.config import Config
from mmengine.fileio import list_from_file

from mmscalablevit.checks.annotations import loads_masks
from mmscalablevit.checks.configs import class_names, dataset_class
from mmscalablevit.errors import Finding, listed

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _MissingEntryError(ValueError):
    """An XML file lacks what MMDetection reads."""


def voc_findings(cfg: Config, split: str, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    """Examine the annotations of a data set in Pascal VOC's format; others have none of this.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: The data set's settings.
    """
    kind, root = dataset_class(cfg, dataset), dataset.get("data_root") or ""
    images = os.path.join(root, dataset.get("ann_file") or "")
    # Data sets with methods of their own may read other files.
    methods = [getattr(kind, name, None) for name in ("load_data_list", "parse_data_info")]
    if not os.path.isfile(images) or any(
        getattr(method, "__module__", "") != "mmdet.datasets.xml_style" for method in methods
    ):
        return
    if loads_masks(dataset.get("pipeline")):
        found = f"{images}: Pascal VOC's boxes have no masks, which the pipeline loads"
        remedy = f"LoadAnnotations without with_mask in the pipeline of {split}_dataloader"
        yield Finding(f"{split} masks", "fail", found, remedy)
    prefix = os.path.join(root, (dataset.get("data_prefix") or {}).get("sub_data_root") or "")
    folder = os.path.join(prefix, dataset.get("ann_subdir", "Annotations"))
    paths = [os.path.join(folder, f"{name}.xml") for name in list_from_file(images)]
    names, labelled = Counter[str](), 0
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        try:
            boxes = read_boxes(path, faults)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
            remedy = "write it as Pascal VOC's are, or take the image out of the list"
            yield Finding(f"{split} annotations", "fail", f"{path}: {problem}", remedy)
            return
        names.update(boxes)
        labelled += bool(boxes)
    yield from name_findings(split, images, list(class_names(kind, dataset)), names)
    found = f"{names.total()} on {labelled} images"
    if faults:
        for fault, places in faults.items():
            found += f"; {len(places)} {fault} ({places[0]})"
        remedy = "correct or remove them"
        yield Finding(f"{split} boxes", "warn", f"{images}: {found}", remedy)
    elif names:
        yield Finding(f"{split} boxes", "ok", found)


def read_boxes(path: str, faults: Mapping[str, list[str]]) -> list[str]:
    """Read an XML file.

    Args:
        path: The file.
        faults: Takes the file where a box is none, by what is wrong.

    Returns:
        The names of its boxes.

    Raises:
        ValueError: It lacks what MMDetection reads.
        ElementTree.ParseError: It is no XML.
    """
    root, names = ElementTree.parse(path).getroot(), []
    size = root.find("size")
    sides = None if size is None else [read_number(size, key) for key in ("width", "height")]
    for number, item in enumerate(root.findall("object"), 1):
        try:
            name, box = item.findtext("name"), item.find("bndbox")
            if name is None or box is None:
                raise _MissingEntryError(f"no {'name' if name is None else 'bndbox'}")
            left, top, right, bottom = (read_number(box, key) for key in CORNERS)
        except ValueError as error:
            raise _MissingEntryError(f"object {number}: {error}") from error
        names.append(name)
        if right <= left or bottom <= top:
            faults["of no area"].append(path)
        elif sides and (left > sides[0] or top > sides[1] or right < 1 or bottom < 1):
            faults["outside their image"].append(path)
    return names


def read_number(element: ElementTree.Element, key: str) -> float:
    """Read a number below an element.

    Raises:
        ValueError: There is none.
    """
    text = element.findtext(key)
    try:
        return float(text or "")
    except ValueError as error:
        raise _MissingEntryError(f"{element.tag} has no number {key}") from error


def name_findings(
    split: str, path: str, classes: Sequence[str], names: Counter[str]
) -> Iterator[Finding]:
    """Compare the names of boxes with the classes."""
    row = f"{split} categories"
    unknown = [f"{name} ({count})" for name, count in names.items() if name not in classes]
    lacking = [name for name in classes if name not in names]
    spell = f"spell metainfo.classes as the files do (they have {listed(sorted(names), 5)})"
    if not names:
        found = f"{path}: its images have no boxes at all"
        yield Finding(row, "warn" if split == "test" else "fail", found, "look at their XML files")
    elif len(lacking) == len(classes):
        found = f"{path}: no box is of the classes ({listed(classes, 5)})"
        yield Finding(row, "fail", found, spell)
    elif unknown:
        found = f"{path}: boxes that are of no class are left out: {listed(unknown, 5)}"
        yield Finding(row, "warn", found, f"{spell}, if they are meant to count")
    elif lacking:
        found = f"{path}: no box of {listed(lacking, 5)}"
        yield Finding(row, "warn", found, f"fine for a part of the data; otherwise {spell}")
