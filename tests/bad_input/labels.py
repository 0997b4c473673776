"""Classes, annotations and label maps that say something else than is meant."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.bad_input.place import Case, Messages, Place

DETECTION, SEGMENTATION = "detection.py", "segmentation.py"


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


def other_order_in_training(place: Place) -> Messages:
    content = torch.load(place.checkpoint(), weights_only=True)
    content["meta"] = {"dataset_meta": {"classes": ["dog", "cat", "hamster"]}}
    return place.test(place.saved("trained.pth", content))


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


def two_values(place: Place, names: str = '"background", "digit"') -> str:
    """The segmentor's config with few classes, and label maps of 0 and 255."""
    text = f'_base_ = "segmentation.py"\nnames = dict(_delete_=True, classes=[{names}])\n'
    for split in ("train", "val", "test"):
        text += f"{split}_dataloader = dict(dataset=dict(metainfo=names))\n"
    head = f"num_classes={len(names.split(','))}, loss_decode=dict(class_weight=None)"
    text += f"model = dict(decode_head=dict({head}))\n"
    for path in place.files("digits/segmentation/annotations/*/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8)).save(path)
    return place.file("two.py", text.encode())


def map_alone(place: Place) -> Messages:
    path = place.files("digits/segmentation/images/training/*.png")[0]
    path.rename(path.with_suffix(".PNG"))
    return place.preflight(SEGMENTATION)


def other_images(place: Place) -> Messages:
    path = "data/digits/detection/annotations/instances_train2017.json"
    return place.train(DETECTION, "--cfg-options", f"val_evaluator.ann_file={path}")


def other_size(place: Place) -> Messages:
    checkpoint = place.checkpoint(SEGMENTATION)
    for path in place.files("digits/segmentation/*/validation/*1.png"):
        Image.open(path).crop((0, 0, 100, 128)).save(path)
    return place.run("test.py", SEGMENTATION, checkpoint)


def batch_of_one(place: Place) -> Messages:
    return place.train_file(
        "one.py",
        '_base_ = "segmentation.py"\ntrain_dataloader = dict(batch_size=1)\n'
        "model = dict(neck=None, decode_head=dict(_delete_=True, type='PSPHead', in_channels=256,"
        " in_index=3, channels=8, num_classes=11, norm_cfg=dict(type='BN')))\n",
    )


def of_resnet(place: Place) -> Messages:
    return place.train(SEGMENTATION, "--cfg-options", "model.pretrained=open-mmlab://resnet50_v1c")


def hidden_folder(place: Place) -> Messages:
    (place.home / "data/pets/train/.ipynb_checkpoints").mkdir()
    return place.train()


CASES: dict[str, Case] = {
    "`metainfo.classes` is in another order than the annotations' categories": other_order,
    "the validation's annotations list the categories in another order than the training's": (
        changed(lambda content: content["categories"].reverse(), "val")
    ),
    "`metainfo.classes` is in another order than the folders": lambda place: place.train_with(
        train_dataloader__dataset__metainfo__classes="[dog,cat,hamster]"
    ),
    "a class is spelt otherwise than its folder": lambda place: place.accepted(
        place.train(place.edited('classes=["cat"', 'classes=["cats"'))
    ),
    "the validation lacks the folder of a class, and folders name the classes": no_folder,
    "the validation lacks the folder of a class, and folders name the classes, in a test": (
        no_folder_in_test
    ),
    "the checkpoint was trained with the classes in another order": other_order_in_training,
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
    "label maps hold 0 and 255 for two classes": lambda place: place.accepted(
        place.train(two_values(place))
    ),
    "label maps hold 0 and 255 for two classes, in the preflight": lambda place: place.preflight(
        two_values(place)
    ),
    "a single class has a softmax loss": lambda place: place.train(two_values(place, '"digit"')),
    "classes are weighted by a loss that takes no ignored pixels": lambda place: place.train(
        two_values(place), "--cfg-options", "model.decode_head.loss_decode.class_weight=[1.0,2.0]"
    ),
    "the head ignores another label than padded pixels get": lambda place: place.train_file(
        "void.py", '_base_ = "segmentation.py"\nmodel = dict(decode_head=dict(ignore_index=11))\n'
    ),
    "label maps have no image of their name, in the preflight": map_alone,
    "a hidden folder lies beside those of the classes": hidden_folder,
    "the validation has no data, but the rest of it": lambda place: place.train_with(
        val_dataloader=None
    ),
    "the evaluator's annotations are of other images than the data set's": other_images,
    "a base of MMSegmentation names weights of ResNet": of_resnet,
    "label 0 is taken out in the training alone": lambda place: place.train(
        SEGMENTATION, "--cfg-options", "train_dataloader.dataset.reduce_zero_label=True"
    ),
    "images of a test batch differ in size": other_size,
    "batch norm over one value, as the batch is of one image": batch_of_one,
    "the evaluator of COCO's metrics has no annotations": lambda place: place.train(
        DETECTION, "--cfg-options", "val_evaluator.ann_file=None"
    ),
    "the accuracy is among more classes than there are": lambda place: place.train_with(
        val_evaluator__topk=5
    ),
}
