"""Write the digits in the layouts of ImageNet, COCO 2017 and ADE20K."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from mmscalablevit.datasets.digits import CLASSES, SPLITS, Scene, draw_scenes, enlarge, load_glyphs

TASKS = ("classification", "detection", "segmentation")

BACKGROUND = len(CLASSES) + 1  # id of the only stuff category; digits have theirs from 1
PANOPTIC_CATEGORIES = [
    *({"id": k, "name": name, "isthing": 1} for k, name in enumerate(CLASSES, 1)),
    {"id": BACKGROUND, "name": "background", "isthing": 0},
]

_SCAN_SIDE = 32
_IMAGE_FOLDERS = {
    "detection": {"train": "train2017", "val": "val2017"},
    "segmentation": {"train": "images/training", "val": "images/validation"},
}
_LABEL_FOLDERS = {"train": "annotations/training", "val": "annotations/validation"}

SOURCES = """\
Made from images that scikit-learn distributes.

Digits: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine
Learning Repository, CC BY 4.0.
Backgrounds: china.jpg (flickr.com/photos/danielbuechele) and flower.jpg
(flickr.com/photos/vultilion), both CC BY 2.0; cropped and drawn over.
"""


def prepare_digits(
    out: Path,
    *,
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
    size: int = 128,
    num_train: int = 3000,
    num_val: int = 300,
    overlap: bool = False,
) -> None:
    """Write the data sets of the given tasks to `out`/classification, detection, segmentation.

    Detection and segmentation show the same scenes under the same file names. The same
    arguments give the same bytes. Everything is made under a temporary name first, so that what
    carries its final name is complete. For seed, size and overlap see :func:`.draw_scenes`.

    Raises:
        FileExistsError: Something already stands where a data set would be written.
        ModuleNotFoundError: scikit-learn, or pycocotools for detection, is missing.
        ValueError: A task is unknown.
    """
    if unknown := set(tasks) - set(TASKS):
        raise ValueError(f"Unknown tasks {sorted(unknown)}; there are {', '.join(TASKS)}.")
    tasks = [task for task in TASKS if task in tasks]
    out = out.resolve()
    _check_free(out, tasks)
    if "detection" in tasks:
        import pycocotools.mask  # noqa: F401 that it is missing is told before any work
    home = out if out.exists() else out.parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incomplete-", dir=home) as folder:
        stage = Path(folder, out.name)
        stage.mkdir()
        if "classification" in tasks:
            _write_classification(stage / "classification", seed)
        dense = [task for task in TASKS[1:] if task in tasks]
        for split, count in zip(SPLITS, (num_train, num_val), strict=True):
            if dense:
                scenes = draw_scenes(split, count, seed, size, overlap)
                bar = track(scenes, f"{split} scenes", total=count)
                _write_scenes(stage, split, dense, bar)
        for task in tasks:
            (stage / task / "SOURCES.txt").write_text(SOURCES, encoding="utf-8")
        if out.exists():
            for task in tasks:
                (stage / task).rename(out / task)
        else:
            stage.rename(out)


def to_coco(scene: Scene, image_id: int, file_name: str, first_id: int) -> tuple[dict, list[dict]]:
    """Describe a scene in COCO's format.

    Masks are compressed RLE: exact to the pixel and, unlike polygons, able to hold the holes of
    0, 6, 8 and 9. Beyond COCO's keys an image tells the photograph it lies on, and an annotation
    the scan it shows.

    Returns:
        The entry for `images` and those for `annotations`, whose ids count on from `first_id`.
    """
    image = {
        "id": image_id,
        "file_name": file_name,
        "height": len(scene.instances),
        "width": len(scene.instances[0]),
        "photo": scene.photo,
        "crop": scene.crop,
    }
    annotations = []
    digits = zip(scene.masks(), scene.labels, scene.scans, strict=True)
    for number, (mask, label, scan) in enumerate(digits):
        rle, box, area = _measure(mask)
        annotations.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                "scan": scan,
            }
        )
    return image, annotations


def to_panoptic(scene: Scene, image_id: int, file_name: str) -> tuple[dict, np.ndarray]:
    """Describe all pixels of a scene as segments: each digit one, and the background.

    Returns:
        The entry for `annotations`, and the label image (S, S, 3) in uint8: segment k + 1 is the
        k-th digit and segment 1 the background, written in red.
    """
    segments = []
    categories = [BACKGROUND, *(label + 1 for label in scene.labels)]
    for number, category in enumerate(categories):
        _, box, area = _measure(scene.instances == number)
        segments.append(
            {
                "id": number + 1,
                "category_id": category,
                "area": area,
                "bbox": [int(edge) for edge in box],
                "iscrowd": 0,
            }
        )
    color = np.zeros((*scene.instances.shape, 3), np.uint8)
    color[..., 0] = scene.instances + 1
    return {"image_id": image_id, "file_name": file_name, "segments_info": segments}, color


def _measure(mask: np.ndarray) -> tuple[dict, list[float], int]:
    """Return the run-length code, the box (left, top, width, height) and the area of a mask."""
    from pycocotools import mask as mask_utils

    rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return rle, mask_utils.toBbox(rle).tolist(), int(mask_utils.area(rle))


def _check_free(out: Path, tasks: Sequence[str]) -> None:
    """Refuse to write where something is, before any work is done."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file. Choose another --out.")
    taken = [str(out / task) for task in tasks if os.path.lexists(out / task)]
    if taken:
        raise FileExistsError(
            f"{', '.join(taken)} already there and nothing is overwritten. "
            "Choose another --out, or delete what is there."
        )


def _write_classification(root: Path, seed: int) -> None:
    """Write each scan, enlarged, to `root`/split/digit/scan_index.png."""
    for split, glyphs in load_glyphs(seed).items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
        for k in track(range(len(glyphs)), f"{split} scans"):
            gray = (enlarge(glyphs.images[k], _SCAN_SIDE) * 255).round().astype(np.uint8)
            folder = root / split / CLASSES[glyphs.labels[k]]
            _write_png(gray, folder / f"scan_{glyphs.indices[k]:04d}.png")


def _write_scenes(stage: Path, split: str, tasks: Sequence[str], scenes: Iterable[Scene]) -> None:
    """Write one split of the dense tasks; the images are on the disk once, where links work."""
    folders = [stage / task / _IMAGE_FOLDERS[task][split] for task in tasks]
    labels = stage / "segmentation" / _LABEL_FOLDERS[split]
    panoptic = stage / "detection" / "annotations" / f"panoptic_{split}2017"
    for task, folder in (("segmentation", labels), ("detection", panoptic)):
        if task in tasks:
            folder.mkdir(parents=True)
    for folder in folders:
        folder.mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    segments: list[dict] = []
    for number, scene in enumerate(scenes, 1):
        name = f"{split}_{number:06d}.png"
        _write_png(scene.image, folders[0] / name)
        for folder in folders[1:]:
            _link_or_copy(folders[0] / name, folder / name)
        if "segmentation" in tasks:
            _write_png(scene.semantic(), labels / name)
        if "detection" in tasks:
            image, found = to_coco(scene, number, name, len(annotations) + 1)
            images.append(image)
            annotations += found
            entry, color = to_panoptic(scene, number, name)
            segments.append(entry)
            _write_png(color, panoptic / name)
    if "detection" in tasks:
        content = {
            "info": {"description": f"Handwritten digits on photographs, {split} scenes"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": k, "name": name, "supercategory": "digit"}
                for k, name in enumerate(CLASSES, 1)
            ],
        }
        path = stage / "detection" / "annotations" / f"instances_{split}2017.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        content |= {"annotations": segments, "categories": PANOPTIC_CATEGORIES}
        panoptic.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")


def _write_png(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, compress_level=3)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links
        shutil.copyfile(source, target)
