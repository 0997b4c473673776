"""Classes, annotations and label maps that say something else than is meant."""

from __future__ import annotations

import shutil

from tests.bad_input.place import Place, case

DETECTION = "detection.py"
ANNOTATIONS = "data/digits/detection/annotations/instances_{}2017.json"


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
