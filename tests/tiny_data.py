"""Data sets of a few small images in the true layouts, made on the fly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# (height, width): landscape and portrait, divided by no stride.
SHAPES = ((91, 127), (125, 89), (103, 139), (90, 90))

# COCO's 80 categories have ids up to 90; these were never used.
_UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def draw_image(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A coloured gradient with noise, (H, W, 3) in uint8."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]] / max(shape)
    plane = random.uniform(-120, 120, (3, 2)) @ np.stack([rows.ravel(), columns.ravel()])
    image = 128 + plane.T.reshape(*shape, 3) + random.normal(0, 20, (*shape, 3))
    return image.clip(0, 255).astype(np.uint8)


def save_image(path: Path, shape: tuple[int, int], seed: int) -> None:
    """Write the picture of a seed, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_image(shape, seed)).save(path)


def write_class_folders(root: Path, folders: list[str], splits: dict[str, int]) -> None:
    """Write one folder a class below each split; the given number of classes has an image.

    Args:
        root: Folder of the data set.
        folders: Names of the class folders, in the order of the labels.
        splits: Number of images of each split.
    """
    for split, count in splits.items():
        for folder in folders:
            (root / split / folder).mkdir(parents=True)
        for index in range(count):
            folder = folders[index * len(folders) // count]
            shape = SHAPES[index % len(SHAPES)]
            save_image(root / split / folder / f"{folder}_{index}.JPEG", shape, seed=index)


def write_imagenet(root: Path) -> None:
    """Write ImageNet's layout: `root`/{train,val}/ with 1000 class folders."""
    folders = [f"n{number:08d}" for number in range(1000)]
    write_class_folders(root, folders, {"train": 4, "val": 2})


def write_label_maps(image_root: Path, label_root: Path) -> None:
    """Write a label map of 4 x 4 cells and two classes for each image below a folder."""
    images = sorted(path for path in image_root.rglob("*") if path.is_file())
    for number, image in enumerate(images):
        path = label_root / image.relative_to(image_root).with_suffix(".pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        maps = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(number))
        maps[1] = (number + torch.arange(2))[:, None, None] % 10
        torch.save(maps.half(), path)


def write_coco(root: Path, classes: tuple[str, ...]) -> None:
    """Write COCO 2017's layout: annotations/instances_{train,val}2017.json and the images.

    Among them are an image without objects and a crowd region, as in the real set.

    Args:
        root: Folder of the data set.
        classes: Names of the 80 categories.
    """
    ids = [number for number in range(1, 91) if number not in _UNUSED_COCO_IDS]
    categories = [
        {"id": number, "name": name, "supercategory": "thing"}
        for number, name in zip(ids, classes, strict=True)
    ]
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", 5), ("val", 3)):
        images, annotations = [], []
        for index in range(count):
            height, width = shape = SHAPES[index % len(SHAPES)]
            name = f"{index + 1:012d}.jpg"
            save_image(root / f"{split}2017" / name, shape, seed=index)
            images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
            if index == count - 1:
                continue
            for number in range(3):
                box = [5 + 12 * number, 4 + 8 * number, width // 3, height // 3]
                crowd = int(number == 2)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": ids[(7 * index + 31 * number) % len(ids)],
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": crowd,
                        "segmentation": _runs(box, shape) if crowd else [_corners(box)],
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = root / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(content))


def write_coco_panoptic(root: Path, things: tuple[str, ...], stuff: tuple[str, ...]) -> None:
    """Write COCO's panoptic annotations of the images that :func:`write_coco` wrote.

    Each image has two things, one of them a crowd in the first image, and two stuff regions; a
    strip at the top is void.

    Args:
        root: Folder of the data set.
        things: Names of the countable categories.
        stuff: Names of the others.
    """
    categories = [
        {"id": number, "name": name, "isthing": int(number <= len(things)), "supercategory": "any"}
        for number, name in enumerate((*things, *stuff), start=1)
    ]
    for split in ("train", "val"):
        instances = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
        folder = root / "annotations" / f"panoptic_{split}2017"
        folder.mkdir()
        annotations = []
        for index, image in enumerate(instances["images"]):
            height, width = image["height"], image["width"]
            ids = np.full((height, width), 70_000)  # above 65535: all three colours are used
            ids[:, width // 2 :] = 300
            ids[: height // 10] = 0
            ids[20:50, 10:40] = 7
            ids[40:80, 45:80] = 8
            classes = {70_000: len(things) + 1 + index, 300: len(categories), 7: 1 + index, 8: 50}
            segments = []
            for number, category in classes.items():
                rows, columns = np.nonzero(ids == number)
                left, top = int(columns.min()), int(rows.min())
                box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
                segments.append(
                    {
                        "id": number,
                        "category_id": category,
                        "area": len(rows),
                        "bbox": box,
                        "iscrowd": int(number == 8 and index == 0),
                    }
                )
            name = image["file_name"].replace(".jpg", ".png")
            color = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1)
            Image.fromarray(color.astype(np.uint8)).save(folder / name)
            annotations.append(
                {"image_id": image["id"], "file_name": name, "segments_info": segments}
            )
        content = {
            "images": instances["images"],
            "annotations": annotations,
            "categories": categories,
        }
        path = root / "annotations" / f"panoptic_{split}2017.json"
        path.write_text(json.dumps(content))


def _corners(box: list[int]) -> list[int]:
    """The polygon of a box, as COCO writes it."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _runs(box: list[int], shape: tuple[int, int]) -> dict:
    """The run-length code of a box, as COCO writes it for crowds: column by column."""
    x, y, width, height = box
    mask = np.zeros(shape, dtype=bool)
    mask[y : y + height, x : x + width] = True
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff([0, *changes, mask.size])
    return {"size": list(shape), "counts": runs.tolist()}


def write_ade20k(root: Path) -> None:
    """Write ADE20K's layout: {images,annotations}/{training,validation}.

    Labels are 1 to 150, and 0 for what belongs to none of the classes.
    """
    for split, name, count in (("training", "train", 4), ("validation", "val", 2)):
        for index in range(count):
            height, width = shape = SHAPES[index % len(SHAPES)]
            stem = f"ADE_{name}_{index + 1:08d}"
            save_image(root / "images" / split / f"{stem}.jpg", shape, seed=index)
            labels = np.zeros(shape, dtype=np.uint8)
            for number, label in enumerate((1, 40 + index, 150)):
                labels[:, number * width // 4 : (number + 1) * width // 4] = label
            labels[: height // 10] = 0
            path = root / "annotations" / split / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(path)


def write_bccd(
    root: Path, classes: Sequence[str], splits: Sequence[str] = ("trainval", "test")
) -> None:
    """Write Pascal VOC's layout, with a box of each class on each image."""
    for split, count in zip(splits, (4, 2), strict=True):
        stems = [f"{split}_{index}" for index in range(count)]
        path = root / "ImageSets/Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(stems))
        for index, stem in enumerate(stems):
            save_image(root / "JPEGImages" / f"{stem}.jpg", (60, 80), seed=index)
            objects = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{1 + 20 * k}</xmin><ymin>10</ymin>"
                f"<xmax>{25 + 20 * k}</xmax><ymax>40</ymax></bndbox></object>"
                for k, name in enumerate(classes)
            )
            size = "<size><width>80</width><height>60</height><depth>3</depth></size>"
            path = root / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"<annotation>{size}{objects}</annotation>")


def write_camvid(root: Path, num_classes: int) -> None:
    """Write frames and label maps, the number of classes as the label of void."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for index in range(count):
            save_image(root / split / f"{index}.png", (60, 80), seed=index)
            labels = np.arange(60 * 80, dtype=np.int64).reshape(60, 80) // 9 % (num_classes + 1)
            path = root / f"{split}annot" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels.astype(np.uint8)).save(path)
