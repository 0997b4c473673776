"""Classes, annotations and label maps that say something else than is meant."""

from __future__ import annotations

import shutil
from typing import Any

from mmscalablevit import checks
from tests.bad_input.place import Place, case

DETECTION = "detection.py"


def with_classes(place: Place, classes: str) -> str:
    """The detector's config with other names in all data sets."""
    text = f'_base_ = "detection.py"\nnames = dict(_delete_=True, classes={classes})\n'
    for split in ("train", "val", "test"):
        text += f"{split}_dataloader = dict(dataset=dict(metainfo=names))\n"
    (place.home / "named.py").write_text(text)
    return "named.py"


def named_by_folders(place: Place) -> str:
    """The classifier's config without names of classes."""
    text = (place.home / "classification.py").read_text()
    text = text.replace('metainfo=dict(classes=["cat", "dog", "hamster"]), ', "")
    (place.home / "folders.py").write_text(text)
    return "folders.py"


@case("`metainfo.classes` is in another order than the annotations' categories")
def other_order(place: Place) -> str:
    return place.train(with_classes(place, 'tuple("9876543210")'))


@case("the validation's annotations list the categories in another order than the training's")
def other_order_in_validation(place: Place) -> str:
    place.change_annotations(lambda content: content["categories"].reverse(), "val")
    return place.train(DETECTION)


@case("`metainfo.classes` is in another order than the folders")
def other_order_than_folders(place: Place) -> str:
    option = "train_dataloader.dataset.metainfo.classes=[dog,cat,hamster]"
    return place.train("classification.py", "--cfg-options", option)


@case("the validation lacks the folder of a class, and folders name the classes")
def no_folder(place: Place) -> str:
    shutil.rmtree(place.home / "data/pets/val/cat")
    return place.train(named_by_folders(place))


@case("the validation lacks the folder of a class, and folders name the classes, in a test")
def no_folder_in_test(place: Place) -> str:
    shutil.rmtree(place.home / "data/pets/val/cat")
    return place.test(place.checkpoint(), named_by_folders(place))


@case("the validation has the folder of a class more")
def one_folder_more(place: Place) -> str:
    shutil.copytree(place.home / "data/pets/val/cat", place.home / "data/pets/val/parrot")
    return place.train(named_by_folders(place))


@case("a single class is named without a comma or brackets")
def no_list(place: Place) -> str:
    (place.home / "one.py").write_text(
        '_base_ = "detection.py"\nmodel = dict(bbox_head=dict(num_classes=1))\n'
        'train_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True, classes=("9"))))\n'
    )
    return place.train("one.py")


def without(place: Place, key: str, split: str = "val", part: str = "annotations") -> None:
    """Take a key out of the detector's annotations."""

    def change(content: dict[str, Any]) -> None:
        for entry in content[part]:
            del entry[key]

    place.change_annotations(change, split)


@case("annotations lack `iscrowd`")
def no_crowd(place: Place) -> str:
    without(place, "iscrowd")
    return place.train(DETECTION)


@case("annotations lack `area`")
def no_area(place: Place) -> str:
    without(place, "area", "train")
    return place.train(DETECTION)


@case("annotations lack the images' `height`, in the preflight")
def no_height(place: Place) -> str:
    without(place, "height", "train", "images")
    return place.preflight(DETECTION)


@case("an annotation lacks `segmentation`, where masks are trained")
def no_segmentation(place: Place) -> str:
    place.change_annotations(lambda content: content["annotations"][0].pop("segmentation"))
    return place.train("instances.py")


@case("an annotation file begins with a byte order mark")
def byte_order_mark(place: Place) -> str:
    place.change_annotations(lambda content: None, encoding="utf-8-sig")
    return place.train(DETECTION)


def number_from_0(content: dict[str, Any]) -> None:
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number


@case("the validation's annotations are numbered from 0")
def from_0(place: Place) -> str:
    place.change_annotations(number_from_0, "val")
    notes: list[str] = []
    place.patch.setattr(checks, "print_log", lambda message, **_: notes.append(message))
    return f"{place.accepted(place.train(DETECTION))}; {' '.join(notes)}"


@case("the validation's annotations are numbered from 0, in the preflight")
def from_0_in_preflight(place: Place) -> str:
    place.change_annotations(number_from_0, "val")
    return place.preflight(DETECTION)


@case("two annotations have the same id")
def same_id(place: Place) -> str:
    place.change_annotations(lambda content: content["annotations"][1].update(id=1))
    return place.train(DETECTION)
