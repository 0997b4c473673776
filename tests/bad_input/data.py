"""Data that are missing, damaged, of an unusual kind, or labelled beyond the model's classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from PIL import Image

from tests.bad_input.place import Case, Messages, Place

DETECTION, SEGMENTATION = "detection.py", "segmentation.py"
ANNOTATIONS = "digits/detection/annotations/instances_train2017.json"
SCENES = "digits/detection/train2017/*.png"
MAPS = "digits/segmentation/annotations/training/*.png"


def without(pattern: str, config: str, *arguments: str) -> Case:
    """A training without the files of a pattern."""

    def train(place: Place) -> Messages:
        place.remove(pattern)
        return place.train(config, *arguments)

    return train


def without_folder(name: str, config: str) -> Case:
    def train(place: Place) -> Messages:
        shutil.rmtree(place.home / "data" / name)
        return place.train(config)

    return train


def cut_annotations(place: Place) -> Messages:
    path = place.files(ANNOTATIONS)[0]
    path.write_bytes(path.read_bytes()[:500])
    return place.preflight(DETECTION)


def lost_scene(place: Place) -> Messages:
    place.files(SCENES)[0].unlink()
    return place.preflight(DETECTION)


def with_image(content: Callable[[bytes], bytes], preflight: bool = False) -> Case:
    """A training whose first image has another content."""

    def examine(place: Place) -> Messages:
        place.image.write_bytes(content(place.image.read_bytes()))
        return place.preflight() if preflight else place.train()

    return examine


def cut_maps(place: Place) -> Messages:
    for path in place.files(MAPS):
        path.write_bytes(path.read_bytes()[:200])
    return place.train(SEGMENTATION)


def nan_image(place: Place) -> Messages:
    pixels = np.full((40, 40, 3), 100, np.float32)
    pixels[3, 4] = np.nan
    cv2.imwrite(str(place.image.with_suffix(".tif")), pixels)
    place.image.unlink()
    load = 'dict(type="LoadImageFromFile"'
    return place.train_edited(load, f'{load}, color_type="unchanged"')


def read(path: Path) -> np.ndarray:
    """An image as the frameworks' loading step decodes it, in RGB."""
    return mmcv.imfrombytes(path.read_bytes(), channel_order="rgb").astype(int)


def grayscale(place: Place) -> Messages:
    pixels = read(place.replace_image("L"))
    assert pixels.ndim == 3 and (pixels == pixels[..., :1]).all()
    return place.accepted(place.train(), "read as three equal channels")


def rgba(place: Place) -> Messages:
    before = read(place.image)
    assert np.array_equal(read(place.replace_image("RGBA")), before)
    return place.accepted(place.train(), "alpha is left out")


def cmyk(place: Place) -> Messages:
    before = read(place.image)
    assert np.abs(read(place.replace_image("CMYK", ".jpg", quality=95)) - before).mean() < 10
    return place.accepted(place.train(), "converted to RGB")


def sixteen_bit(place: Place) -> Messages:
    path = place.image.with_suffix(".png")
    place.image.unlink()
    Image.fromarray(np.full((50, 60), 40000, np.uint16)).save(path)
    assert (read(path) == 40000 // 256).all()
    return place.accepted(place.train(), "scaled to 8 bits")


def turned(place: Place) -> Messages:
    before = read(place.image)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned left
    pixels = read(place.replace_image("RGB", ".jpg", exif=exif, quality=95))
    assert np.abs(np.rot90(pixels) - before).mean() < 10
    return place.accepted(place.train(), "turned upright")


def turned_boxes(place: Place) -> Messages:
    for path in place.files(SCENES):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).resize((128, 96)).save(path, exif=exif)

    def state_stored_size(content: dict) -> None:
        for image in content["images"]:
            image["height"] = 96

    place.change_annotations(state_stored_size)
    return place.preflight(DETECTION)


def with_map(change: Callable[[np.ndarray], np.ndarray], training: bool = False) -> Case:
    """A preflight, or a training, with another first label map."""

    def examine(place: Place) -> Messages:
        place.change_map(change)
        return place.train(SEGMENTATION) if training else place.preflight(SEGMENTATION)

    return examine


def fill_maps(place: Place, label: int) -> None:
    for path in place.files(MAPS):
        Image.fromarray(np.full((128, 128), label, np.uint8)).save(path)


def beyond(place: Place) -> Messages:
    fill_maps(place, 40)
    return place.train(SEGMENTATION)


def all_ignored(place: Place) -> Messages:
    fill_maps(place, 255)
    return place.preflight(SEGMENTATION)


def label_file(place: Place, label: int) -> str:
    """A config whose labels stand in a file, which gives the first image another label."""
    root = place.home / "data/pets/train"
    names = [path.relative_to(root) for path in place.files("pets/train/*/*.JPEG")]
    lines = [f"{name} {label if number == 0 else 1}" for number, name in enumerate(names)]
    place.file("data/pets/train.txt", "\n".join(lines).encode())
    return place.edited('data_prefix="train"', 'data_prefix="train", ann_file="train.txt"')


def more_folders(place: Place) -> Messages:
    (place.home / "data/pets/train/parrot").mkdir()
    return place.preflight()


def with_annotations(change: Callable[[dict[str, Any]], Any], preflight: bool = True) -> Case:
    """A preflight, or a training, with changed annotations."""

    def examine(place: Place) -> Messages:
        place.change_annotations(change)
        return place.preflight(DETECTION) if preflight else place.train(DETECTION)

    return examine


def flatten(content: dict) -> None:
    for annotation in content["annotations"]:
        annotation.update(bbox=[5, 5, 0, 9], area=0)


CASES: dict[str, Case] = {
    "the data directory is missing": without_folder("pets", "classification.py"),
    "the annotation file is missing": without(ANNOTATIONS, DETECTION),
    "the annotation file is cut short": cut_annotations,
    "the folder of the label maps is missing": without_folder(
        "digits/segmentation/annotations/training", SEGMENTATION
    ),
    "an image is missing": without(SCENES, DETECTION),
    "an image is missing, read by a worker process": without(
        SCENES, DETECTION, "--cfg-options", "train_dataloader.num_workers=1"
    ),
    "an image is missing, in the preflight": lost_scene,
    "a label map is missing": without(MAPS, SEGMENTATION),
    "the data set is empty": without("pets/train/*/*.JPEG", "classification.py"),
    "the data set is empty: no annotation is of the config's classes": with_annotations(
        lambda content: content.update(images=[], annotations=[]), preflight=False
    ),
    "the data set is empty: other suffixes": lambda place: place.train(
        SEGMENTATION, "--cfg-options", "train_dataloader.dataset.img_suffix=.tiff"
    ),
    "fewer samples than a batch, which is dropped": lambda place: place.train_with(
        train_dataloader__batch_size=9, train_dataloader__drop_last=True
    ),
    "a JPEG is cut short": with_image(lambda content: content[:700]),
    "a JPEG is cut short, in the preflight": with_image(lambda content: content[:700], True),
    "an image file is empty": with_image(lambda content: b""),
    "an image file is no image": with_image(lambda content: b"<html>404</html>"),
    "a label map is cut short": cut_maps,
    "an image has pixels that are no numbers (NaN)": nan_image,
    "a grayscale image": grayscale,
    "an image with an alpha channel (RGBA)": rgba,
    "a CMYK image": cmyk,
    "a 16-bit image": sixteen_bit,
    "an image that its EXIF tag turns": turned,
    "an image that its EXIF tag turns, annotated as it is stored": turned_boxes,
    "a label map of another size than its image": with_map(lambda labels: labels[:100]),
    "a label map of another size than its image, in a training": with_map(
        lambda labels: labels[:100], training=True
    ),
    "a label map in colours, in a training": with_map(
        lambda labels: np.stack([labels] * 3, axis=-1), training=True
    ),
    "a label map in colours": with_map(lambda labels: np.stack([labels] * 3, axis=-1)),
    "a label map of 16 bits with values that 8 bits do not hold": with_map(
        lambda labels: labels.astype(np.uint16) + 300
    ),
    "label maps with values beyond the classes": beyond,
    "label maps with values beyond the classes, in the preflight": with_map(
        lambda labels: np.full_like(labels, 40)
    ),
    "label maps in which all is ignored": all_ignored,
    "a class label beyond the classes": lambda place: place.train(label_file(place, 3)),
    "a class label beyond the classes, in the preflight": lambda place: place.preflight(
        label_file(place, 3)
    ),
    "more classes in the data than in the model": lambda place: place.train_with(
        model__head__num_classes=2
    ),
    "another number of class folders than the config names": more_folders,
    "the annotations have categories that the config lacks": with_annotations(
        lambda content: content["categories"].append({"id": 99, "name": "letter"})
    ),
    "the config has classes that the annotations lack": with_annotations(
        lambda content: content["categories"].pop(), preflight=False
    ),
    "the config has classes that the annotations lack, in the preflight": with_annotations(
        lambda content: content["categories"][0].update(name="zero")
    ),
    "a box of a category that is not in its file": with_annotations(
        lambda content: content["annotations"][0].update(category_id=77)
    ),
    "boxes of no area": with_annotations(
        lambda content: content["annotations"][0].update(bbox=[5, 5, 0, 9], area=0)
    ),
    "all boxes are of no area": with_annotations(flatten),
    "boxes outside their image": with_annotations(
        lambda content: content["annotations"][0].update(bbox=[500, 5, 10, 10])
    ),
}
