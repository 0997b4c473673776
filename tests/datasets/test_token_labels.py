"""Images and their label maps stay together, whatever is done to them."""

import functools
import io
import math
import pickle

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from PIL import Image

from mmscalablevit.datasets.token_labels import (
    LoadTokenLabels,
    TokenLabelError,
    find_fault,
    label_path,
    warp_label_map,
)
from mmscalablevit.models.token_label import TokenLabelDataPreprocessor
from tests.golden import DATA

GOLDEN = DATA / "golden" / "lvt_token_labels"
GEOMETRIC = [
    {"type": "Rotate", "magnitude_range": (0, 30)},
    *(
        {"type": kind, "magnitude_range": (0, most), "direction": direction}
        for kind, most in (("Shear", 0.3), ("Translate", 0.45))
        for direction in ("horizontal", "vertical")
    ),
]
RAND_AUGMENT = {"num_policies": 2, "magnitude_level": 9, "magnitude_std": 0.5}


@pytest.fixture(autouse=True)
def _in_mmpretrain():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def released_sources(name: str, value: float, size: int) -> np.ndarray:
    """Where PIL takes a cell from, by the cells' indices: section 4 of the released code."""
    matrix = np.eye(3)[:2]
    if name == "Rotate":
        cos, sin, centre = math.cos(math.radians(value)), math.sin(math.radians(value)), size / 2
        matrix[:, :2] = (cos, -sin), (sin, cos)
        matrix[:, 2] = centre - matrix[:, :2] @ (centre, centre)
    elif name.startswith("Shear"):
        matrix["XY".index(name[-1]), "YX".index(name[-1])] = value
    else:
        matrix["XY".index(name[-4]), 2] = value * size
    return matrix


def test_maps_are_warped_as_released():
    with np.load(GOLDEN / "label_targets.npz") as file:
        maps = torch.from_numpy(file["ra_map"].astype(np.float32))
        cases = zip(file["ra_ops"], file["ra_args"], file["ra_outputs"], strict=True)
        for name, value, expected in cases:
            warped = warp_label_map(maps, released_sources(name, value, 18))
            np.testing.assert_array_equal(warped.numpy(), expected, err_msg=f"{name} {value}")


def test_reads_what_the_released_generator_writes():
    maps = LoadTokenLabels(str(GOLDEN / "label_maps")).read("train/n01440764/n01440764_10026.JPEG")
    logits = 3 * np.random.RandomState(51).standard_normal((18, 18, 1000)).astype(np.float32)
    classes = np.argsort(-logits, axis=2)[:, :, :5]
    expected = np.take_along_axis(logits, classes, axis=2).astype(np.float16)
    np.testing.assert_array_equal(maps[0].numpy(), expected.transpose(2, 0, 1))
    np.testing.assert_array_equal(maps[1].numpy(), classes.transpose(2, 0, 1))


def test_operations_are_those_of_mmpretrain():
    image = cv2.GaussianBlur(np.random.randint(0, 256, (90, 130, 3), np.uint8), (5, 5), 2)
    settings = {"policies": GEOMETRIC, **RAND_AUGMENT, "hparams": {"pad_val": [1, 2, 3]}}
    theirs = TRANSFORMS.build({"type": "RandAugment", **settings})
    ours = TRANSFORMS.build({"type": "TokenLabelRandAugment", **settings})
    for seed in range(50):
        changed = []
        for transform in (theirs, ours):
            np.random.seed(seed)
            changed.append(transform({"img": image})["img"].astype(int))
        # cv2 rounds the matrices, which mmcv hands over in float32
        assert np.abs(changed[0] - changed[1]).mean() < 0.1, seed


def draw_scene(seed: int, region: str) -> tuple[np.ndarray, torch.Tensor]:
    """An image, one quadrant of it, or of its central square, white, and the map that marks it."""
    random = np.random.RandomState(seed)
    height, width = random.randint(120, 260, 2)
    image = np.zeros((height, width, 3), np.uint8)
    side = min(height, width) if region == "center" else None
    rows, columns = ((side or n) for n in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    lower, right = random.randint(0, 2, 2)
    start = top + lower * rows // 2, left + right * columns // 2
    image[start[0] : start[0] + rows // 2, start[1] : start[1] + columns // 2] = 255
    maps = torch.zeros(2, 2, 56, 56)
    maps[1, 0], maps[1, 1] = 3, 7
    maps[0, 0, 28 * lower : 28 * lower + 28, 28 * right : 28 * right + 28] = 8
    return image, maps


@functools.cache
def make_pipeline(kind: int) -> Compose:
    """Flip, geometric operations and crop, one of twelve kinds: the flip in any place."""
    flip = {"type": "TokenLabelRandomFlip", "prob": 0.7, "direction": "horizontal"}
    if kind % 3 == 0:
        flip["direction"], flip["prob"] = ["horizontal", "vertical", "diagonal"], [0.3, 0.3, 0.3]
    steps = [
        {
            "type": "TokenLabelRandAugment",
            "policies": GEOMETRIC,
            **RAND_AUGMENT,
            "hparams": {"pad_val": 0},
            "interpolation": ["bilinear", "bicubic"],
        },
        {
            "type": "TokenLabelRandomResizedCrop",
            "scale": 112,
            "interpolation": ["bilinear", "bicubic"],
        },
    ]
    steps.insert(kind // 4, flip)
    keys = ("gt_score_map", "gt_crop_box")
    return Compose([*steps, {"type": "PackInputs", "algorithm_keys": keys}])


class Memory(LoadTokenLabels):
    """Takes the map that is there, in the place of a file's."""

    def read(self, image):
        return image


def apart(seeds: range, region: str, box_order: str) -> np.ndarray:
    """Share of the marked class at positions of the map, less the brightness of the image there.

    Positions at whose edges, or next to which, the image changes are left out.
    """
    load = Memory("", map_region=region)
    preprocess = TokenLabelDataPreprocessor(num_classes=10, box_order=box_order, label_smooth_val=0)
    deviations = []
    for seed in seeds:
        image, maps = draw_scene(seed, region)
        results = load({"img": image, "img_path": maps, "gt_label": 0})
        packed = make_pipeline(seed % 12)(results)
        data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        preprocess(data, training=True)
        shares = packed["data_samples"].gt_dense_score[:, 3].reshape(7, 7).double()
        evidence = (torch.log(9 * shares / (1 - shares)) / 8).numpy()
        bright = packed["inputs"][0].numpy() > 127
        for row in range(7):
            for column in range(7):
                rows, columns = (slice(max(16 * n - 16, 0), 16 * n + 32) for n in (row, column))
                around = bright[rows, columns]
                if around.all() or not around.any():
                    deviations.append(evidence[row, column] - around[0, 0])
    return np.array(deviations)


# At the crop's border the map's interpolation sees half a cell of what was cut away.
BORDER = 0.4


def test_a_bright_quadrant_and_the_map_that_marks_it_stay_together():
    np.random.seed(1)
    deviations = np.abs(apart(range(1000), "whole", "xy"))
    assert len(deviations) > 20_000
    assert (deviations > 0.02).mean() < 1e-3
    assert deviations.max() < BORDER


def test_maps_of_the_central_square_stay_with_it():
    np.random.seed(1)
    deviations = apart(range(300), "center", "xy")
    assert deviations.max() < BORDER
    # What an operation moves out of the central square is without evidence.
    assert (deviations < -BORDER).mean() < 1e-2


def test_the_released_order_of_the_box_parts_them():
    np.random.seed(1)
    assert (np.abs(apart(range(100), "whole", "released")) > BORDER).mean() > 0.05


def test_paths():
    assert label_path("data/imagenet/train/n01/n01_5.JPEG") == "n01/n01_5.pt"
    # the released code cuts at the first dot
    assert label_path("train/v1.2/a.b.jpg") == "v1.2/a.b.pt"
    assert label_path("/data/train/cats/big/1.png", "/data/train") == "cats/big/1.pt"
    with pytest.raises(TokenLabelError, match="image_root"):
        label_path("/data/train/1.png", "/data/val")


def encode(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def with_value(plane: int, value: float) -> torch.Tensor:
    maps = torch.zeros(2, 5, 7, 7, dtype=torch.float16)
    maps[plane, 0, 0, 0] = value
    return maps


class Code:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (encode(torch.zeros(2, 5, 7, 7))[:900], "damaged"),
        (encode({"maps": torch.zeros(2, 5, 7, 7)}), "no tensor"),
        (pickle.dumps(Code()), "damaged"),
        (encode(torch.zeros(2, 5, 7, 8)), "(2, 5, 7, 8)"),
        (encode(torch.zeros(3, 5, 7, 7)), "(3, 5, 7, 7)"),
        (encode(torch.zeros(2, 0, 7, 7)), "(2, 0, 7, 7)"),
        (encode(torch.zeros(2, 5, 7, 7, dtype=torch.int64)), "int64"),
        (encode(with_value(0, math.nan)), "no numbers"),
        (encode(with_value(1, -1)), "whole numbers"),
        (encode(with_value(1, 0.5)), "whole numbers"),
    ],
)
def test_a_malformed_map_is_one_line_that_names_it(tmp_path, capsys, content, said):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "i.pt").write_bytes(content)
    with pytest.raises(TokenLabelError) as caught:
        LoadTokenLabels(str(tmp_path)).read("train/c/i.jpg")
    message = str(caught.value)
    assert said in message and str(tmp_path / "c" / "i.pt") in message
    assert "make_token_labels.py" in message and "\n" not in message
    assert "executed" not in capsys.readouterr().out


def test_a_missing_map_names_file_and_remedy(tmp_path):
    with pytest.raises(TokenLabelError, match=r"c/i\.pt does not exist.*label_root"):
        LoadTokenLabels(str(tmp_path)).read("train/c/i.jpg")


def test_whole_maps_have_no_fault():
    assert find_fault(torch.zeros(2, 1, 1, 1)) is None
    assert find_fault(with_value(1, 2000)) is None


def test_transforms_do_without_maps(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (50, 40)).save(path)
    load = TRANSFORMS.build({"type": "LoadImageFromFile"})
    sample = make_pipeline(0)(load({"img_path": str(path), "gt_label": 2}))["data_samples"]
    assert isinstance(sample, DataSample)
    assert "gt_score_map" not in sample and sample.img_shape[:2] == (112, 112)


def test_an_unknown_region_is_refused():
    with pytest.raises(ValueError, match="map_region"):
        LoadTokenLabels("maps", map_region="centre")
