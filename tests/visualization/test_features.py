"""Pictures of feature maps: the right maps, in the right places, and clear words where none are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.cli.building import load_model
from mmscalablevit.visualization import features
from mmscalablevit.visualization.features import Place

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
SEMANTIC_FPN = ROOT / "configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"


def make_image(height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.RandomState(0).randint(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("path", [DIGITS, SEMANTIC_FPN], ids=["classifier", "segmentor"])
def test_maps_are_those_of_the_blocks(path: Path) -> None:
    model = load_model(Config.fromfile(path), None)[0]
    image = make_image()
    places = [Place(0, 0), Place(3, -1), Place(0, 1)]
    maps = features.compute_features(model, image, places, "tiny")
    assert [tuple(x.shape) for x in maps] == [(32, 16, 24), (256, 2, 3), (32, 16, 24)]
    # A stage puts out its last block's map, since the position encoding follows the first block.
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)  # in RGB, as both take it
    with torch.no_grad():
        x = ((pixels - mean) / std)[None].permute(0, 2, 3, 1)
        x = model.backbone.stages[0](x)
    torch.testing.assert_close(maps[2], x[0].permute(2, 0, 1))
    assert not torch.equal(maps[0], maps[2])
    assert not any(module._forward_hooks for module in model.backbone.modules())


def test_weights_are_the_checkpoints(tmp_path: Path) -> None:
    model, _ = load_model(Config.fromfile(DIGITS), None)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "model.pth")
    loaded, _ = load_model(Config.fromfile(DIGITS), str(tmp_path / "model.pth"))
    for a, b in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match="not one of this config's model"):
        load_model(Config.fromfile(SEMANTIC_FPN), str(tmp_path / "model.pth"))


def test_checkpoints_stand_behind_a_colon() -> None:
    assert features.split_model("a/b.py") == ("a/b.py", None)
    assert features.split_model("a/b.py:c/d.pth") == ("a/b.py", "c/d.pth")
    assert features.split_model("b.py:https://x/d.pth") == ("b.py", "https://x/d.pth")


def test_picture_has_a_row_per_model_and_no_interpolation(tmp_path: Path) -> None:
    low, high = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    low[0, :2], high[0, 2:] = 1, 1
    rows = [("first", [low, high]), ("second", [high, low])]
    places = [Place(0, 0), Place(0, 1)]
    features.save_features(rows, places, make_image(40, 40), tmp_path / "new" / "out.png")
    picture = cv2.imread(str(tmp_path / "new" / "out.png"))
    assert 400 < picture.shape[0] < picture.shape[1]
    # The colour map's ends are blue and red, a border of two values has nothing in between.
    hue = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    middle = hue[:, picture.shape[1] // 2]
    vivid = middle[middle[:, 1] > 200][:, 0]
    blue, red = (np.abs(vivid.astype(int) - 120) < 8), (vivid < 8) | (vivid > 172)
    assert blue.sum() > 100 and red.sum() > 100
    assert (blue | red).mean() > 0.95
