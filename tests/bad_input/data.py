"""Data that are missing, damaged, of an unusual kind, or labelled beyond the model's classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import mmcv
import numpy as np
from PIL import Image

from tests.bad_input.place import Place, case

DETECTION, SEGMENTATION = "detection.py", "segmentation.py"


@case("the data directory is missing")
def no_directory(place: Place) -> str:
    shutil.rmtree(place.home / "data/pets")
    return place.train()


@case("the annotation file is missing")
def no_annotations(place: Place) -> str:
    (place.home / "data/digits/detection/annotations/instances_train2017.json").unlink()
    return place.train(DETECTION)


@case("the annotation file is cut short")
def short_annotations(place: Place) -> str:
    path = place.home / "data/digits/detection/annotations/instances_train2017.json"
    path.write_bytes(path.read_bytes()[:500])
    return place.preflight(DETECTION)


@case("the folder of the label maps is missing")
def no_maps(place: Place) -> str:
    shutil.rmtree(place.home / "data/digits/segmentation/annotations/training")
    return place.train(SEGMENTATION)


@case("an image is missing")
def no_image(place: Place) -> str:
    for path in place.home.glob("data/digits/detection/train2017/*.png"):
        path.unlink()
    return place.train(DETECTION)


@case("an image is missing, read by a worker process")
def no_image_for_worker(place: Place) -> str:
    for path in place.home.glob("data/digits/detection/train2017/*.png"):
        path.unlink()
    return place.train(DETECTION, "--cfg-options", "train_dataloader.num_workers=1")


@case("an image is missing, in the preflight")
def no_image_in_preflight(place: Place) -> str:
    next(place.home.glob("data/digits/detection/train2017/*.png")).unlink()
    return place.preflight(DETECTION)


@case("a label map is missing")
def no_map(place: Place) -> str:
    for path in place.home.glob("data/digits/segmentation/annotations/training/*.png"):
        path.unlink()
    return place.train(SEGMENTATION)


@case("the data set is empty")
def empty_folders(place: Place) -> str:
    for path in place.images:
        path.unlink()
    return place.train()


@case("the data set is empty: no annotation is of the config's classes")
def empty_annotations(place: Place) -> str:
    place.change_annotations(lambda content: content.update(images=[], annotations=[]))
    return place.train(DETECTION)


@case("the data set is empty: other suffixes")
def empty_suffix(place: Place) -> str:
    option = "train_dataloader.dataset.img_suffix=.tiff"
    return place.train(SEGMENTATION, "--cfg-options", option)


@case("fewer samples than a batch, which is dropped")
def no_batch(place: Place) -> str:
    return place.train_with(train_dataloader__batch_size=9, train_dataloader__drop_last=True)


@case("a JPEG is cut short")
def short_image(place: Place) -> str:
    path = place.images[0]
    path.write_bytes(path.read_bytes()[:700])
    return place.train()


@case("a JPEG is cut short, in the preflight")
def short_image_in_preflight(place: Place) -> str:
    path = place.images[0]
    path.write_bytes(path.read_bytes()[:700])
    return place.preflight("classification.py")


@case("an image file is empty")
def empty_image(place: Place) -> str:
    place.images[0].write_bytes(b"")
    return place.train()


@case("an image file is no image")
def no_image_format(place: Place) -> str:
    place.images[0].write_text("<html>404</html>")
    return place.train()


@case("a label map is cut short")
def short_map(place: Place) -> str:
    for path in place.home.glob("data/digits/segmentation/annotations/training/*.png"):
        path.write_bytes(path.read_bytes()[:200])
    return place.train(SEGMENTATION)


@case("an image has pixels that are no numbers (NaN)")
def nan_image(place: Place) -> str:
    pixels = np.full((40, 40, 3), 100, np.float32)
    pixels[3, 4] = np.nan
    cv2.imwrite(str(place.images[0].with_suffix(".tif")), pixels)
    place.images[0].unlink()
    text = (place.home / "classification.py").read_text()
    load = 'dict(type="LoadImageFromFile", color_type="unchanged")'
    text = text.replace('dict(type="LoadImageFromFile")', load)
    (place.home / "floats.py").write_text(text)
    return place.train("floats.py")


def read(path: Path) -> np.ndarray:
    """An image as the frameworks' loading step decodes it, in RGB."""
    return mmcv.imfrombytes(path.read_bytes(), channel_order="rgb")


@case("a grayscale image")
def grayscale(place: Place) -> str:
    pixels = read(place.replace_image("L"))
    assert pixels.ndim == 3 and (pixels == pixels[..., :1]).all()
    return place.accepted(place.train()) + ": read as three equal channels"


@case("an image with an alpha channel (RGBA)")
def rgba(place: Place) -> str:
    before = read(place.images[0])
    assert np.array_equal(read(place.replace_image("RGBA")), before)
    return place.accepted(place.train()) + ": alpha is left out"


@case("a CMYK image")
def cmyk(place: Place) -> str:
    before = read(place.images[0]).astype(int)
    assert np.abs(read(place.replace_image("CMYK", ".jpg", quality=95)) - before).mean() < 10
    return place.accepted(place.train()) + ": converted to RGB"


@case("a 16-bit image")
def sixteen_bit(place: Place) -> str:
    path = place.images[0].with_suffix(".png")
    place.images[0].unlink()
    Image.fromarray(np.full((50, 60), 40000, np.uint16)).save(path)
    assert (read(path) == 40000 // 256).all()
    return place.accepted(place.train()) + ": scaled to 8 bits"


@case("an image that its EXIF tag turns")
def turned(place: Place) -> str:
    before = read(place.images[0]).astype(int)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned left
    pixels = read(place.replace_image("RGB", ".jpg", exif=exif, quality=95))
    assert np.abs(np.rot90(pixels).astype(int) - before).mean() < 10
    return place.accepted(place.train()) + ": turned upright"


@case("an image that its EXIF tag turns, annotated as it is stored")
def turned_boxes(place: Place) -> str:
    for path in place.home.glob("data/digits/detection/train2017/*.png"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).resize((128, 96)).save(path, exif=exif)

    def state_stored_size(content: dict) -> None:
        for image in content["images"]:
            image["height"] = 96

    place.change_annotations(state_stored_size)
    return place.preflight(DETECTION)


@case("a label map of another size than its image")
def other_size(place: Place) -> str:
    place.change_map(lambda labels: labels[:100])
    return place.preflight(SEGMENTATION)


@case("a label map in colours")
def colours(place: Place) -> str:
    place.change_map(lambda labels: np.stack([labels] * 3, axis=-1))
    return place.preflight(SEGMENTATION)


@case("a label map of 16 bits with values that 8 bits do not hold")
def sixteen_bit_map(place: Place) -> str:
    place.change_map(lambda labels: labels.astype(np.uint16) + 300)
    return place.preflight(SEGMENTATION)


@case("label maps with values beyond the classes")
def beyond(place: Place) -> str:
    for path in place.home.glob("data/digits/segmentation/annotations/training/*.png"):
        Image.fromarray(np.full((128, 128), 40, np.uint8)).save(path)
    return place.train(SEGMENTATION)


@case("label maps with values beyond the classes, in the preflight")
def beyond_in_preflight(place: Place) -> str:
    place.change_map(lambda labels: np.full_like(labels, 40))
    return place.preflight(SEGMENTATION)


@case("label maps in which all is ignored")
def all_ignored(place: Place) -> str:
    for path in place.home.glob("data/digits/segmentation/annotations/training/*.png"):
        Image.fromarray(np.full((128, 128), 255, np.uint8)).save(path)
    return place.preflight(SEGMENTATION)


def label_file(place: Place, label: int) -> str:
    """A config whose labels stand in a file, which gives the first image another label."""
    lines = [
        f"{path.relative_to('data/pets/train')} {label if number == 0 else 1}"
        for number, path in enumerate(sorted((place.home / "data/pets/train").glob("*/*.JPEG")))
        for path in [path.relative_to(place.home)]
    ]
    (place.home / "data/pets/train.txt").write_text("\n".join(lines))
    text = (place.home / "classification.py").read_text()
    text = text.replace('data_prefix="train"', 'data_prefix="train", ann_file="train.txt"')
    (place.home / "listed.py").write_text(text)
    return "listed.py"


@case("a class label beyond the classes")
def label_beyond(place: Place) -> str:
    return place.train(label_file(place, 3))


@case("a class label beyond the classes, in the preflight")
def label_beyond_in_preflight(place: Place) -> str:
    return place.preflight(label_file(place, 3))


@case("more classes in the data than in the model")
def more_classes(place: Place) -> str:
    return place.train_with(model__head__num_classes=2)


@case("another number of class folders than the config names")
def more_folders(place: Place) -> str:
    (place.home / "data/pets/train/parrot").mkdir()
    return place.preflight("classification.py")


@case("the annotations have categories that the config lacks")
def more_categories(place: Place) -> str:
    place.change_annotations(
        lambda content: content["categories"].append({"id": 99, "name": "letter"})
    )
    return place.preflight(DETECTION)


@case("the config has classes that the annotations lack")
def fewer_categories(place: Place) -> str:
    place.change_annotations(lambda content: content["categories"].pop())
    return place.train(DETECTION)


@case("the config has classes that the annotations lack, in the preflight")
def fewer_categories_in_preflight(place: Place) -> str:
    place.change_annotations(lambda content: content["categories"][0].update(name="zero"))
    return place.preflight(DETECTION)


@case("a box of a category that is not in its file")
def unknown_category(place: Place) -> str:
    place.change_annotations(lambda content: content["annotations"][0].update(category_id=77))
    return place.preflight(DETECTION)


@case("boxes of no area")
def no_area(place: Place) -> str:
    place.change_annotations(
        lambda content: content["annotations"][0].update(bbox=[5, 5, 0, 9], area=0)
    )
    return place.preflight(DETECTION)


@case("all boxes are of no area")
def no_boxes(place: Place) -> str:
    def flatten(content: dict) -> None:
        for annotation in content["annotations"]:
            annotation.update(bbox=[5, 5, 0, 9], area=0)

    place.change_annotations(flatten)
    return place.preflight(DETECTION)


@case("boxes outside their image")
def outside(place: Place) -> str:
    place.change_annotations(
        lambda content: content["annotations"][0].update(bbox=[500, 5, 10, 10])
    )
    return place.preflight(DETECTION)
