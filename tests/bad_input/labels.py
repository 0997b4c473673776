"""Classes and annotations that say something else than is meant."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from tests.bad_input.place import Case, Messages, Place

DETECTION = "detection.py"


def other_order(place: Place) -> Messages:
    """The detector's classes in another order, in all data sets."""
    lines = ['_base_ = "detection.py"', 'names = dict(_delete_=True, classes=tuple("9876543210"))']
    for split in ("train", "val", "test"):
        lines.append(f"{split}_dataloader = dict(dataset=dict(metainfo=names))")
    return place.train_file("named.py", "\n".join(lines))


def named_by_folders(place: Place) -> str:
    """The classifier's config without names of classes."""
    return place.edited('metainfo=dict(classes=["cat", "dog", "hamster"]), ', "")


def no_folder(place: Place) -> Messages:
    shutil.rmtree(place.home / "data/pets/val/cat")
    return place.train(named_by_folders(place))


def no_folder_in_test(place: Place) -> Messages:
    shutil.rmtree(place.home / "data/pets/val/cat")
    return place.run("test.py", named_by_folders(place), place.checkpoint())


def one_folder_more(place: Place) -> Messages:
    shutil.copytree(place.home / "data/pets/val/cat", place.home / "data/pets/val/parrot")
    return place.train(named_by_folders(place))


def changed(
    change: Callable[[dict[str, Any]], Any], split: str = "train", config: str = DETECTION
) -> Case:
    """A training with changed annotations."""

    def train(place: Place) -> Messages:
        place.change_annotations(change, split)
        return place.train(config)

    return train


def without(key: str, part: str = "annotations") -> Callable[[dict[str, Any]], None]:
    """Take a key out of annotations."""

    def change(content: dict[str, Any]) -> None:
        for entry in content[part]:
            del entry[key]

    return change


def number_from_0(content: dict[str, Any]) -> None:
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number


def no_height(place: Place) -> Messages:
    place.change_annotations(without("height", "images"))
    return place.preflight(DETECTION)


def byte_order_mark(place: Place) -> Messages:
    place.change_annotations(lambda content: None, encoding="utf-8-sig")
    return place.train(DETECTION)


def numbered_from_0(place: Place) -> Messages:
    return place.accepted(changed(number_from_0, "val")(place))


def numbered_from_0_in_preflight(place: Place) -> Messages:
    place.change_annotations(number_from_0, "val")
    return place.preflight(DETECTION)


CASES: dict[str, Case] = {
    "`metainfo.classes` is in another order than the annotations' categories": other_order,
    "the validation's annotations list the categories in another order than the training's": (
        changed(lambda content: content["categories"].reverse(), "val")
    ),
    "`metainfo.classes` is in another order than the folders": lambda place: place.train_with(
        train_dataloader__dataset__metainfo__classes="[dog,cat,hamster]"
    ),
    "the validation lacks the folder of a class, and folders name the classes": no_folder,
    "the validation lacks the folder of a class, and folders name the classes, in a test": (
        no_folder_in_test
    ),
    "the validation has the folder of a class more": one_folder_more,
    "a single class is named without a comma or brackets": lambda place: place.train_file(
        "one.py",
        '_base_ = "detection.py"\nmodel = dict(bbox_head=dict(num_classes=1))\n'
        'train_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, classes=("9"))))\n',
    ),
    "annotations lack `iscrowd`": changed(without("iscrowd"), "val"),
    "annotations lack `area`": changed(without("area")),
    "annotations lack the images' `height`, in the preflight": no_height,
    "an annotation lacks `segmentation`, where masks are trained": changed(
        lambda content: content["annotations"][0].pop("segmentation"), config="instances.py"
    ),
    "an annotation file begins with a byte order mark": byte_order_mark,
    "the validation's annotations are numbered from 0": numbered_from_0,
    "the validation's annotations are numbered from 0, in the preflight": (
        numbered_from_0_in_preflight
    ),
    "two annotations have the same id": changed(
        lambda content: content["annotations"][1].update(id=1)
    ),
}
