import re
from pathlib import Path

import cv2
import pytest

from mmscalablevit.datasets import prepare_digits
from tests.in_process import run_tool
from tests.tiny_data import save_image
from tests.tiny_projects import save_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFIER = CONFIGS / "classification/digits/scalablevit-tiny_1xb64_digits.py"
DETECTOR = CONFIGS / "detection/digits/mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py"
PANOPTIC = CONFIGS / "detection/digits/panoptic-fpn_lvt-tiny_fpn_1xb4_digits.py"
SEGMENTOR = CONFIGS / "segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"
STVIT = CONFIGS / "segmentation/digits/stvit-tiny_upernet_1xb8_digits-128x128.py"


@pytest.fixture
def visualize(tmp_path, monkeypatch):
    """Run the tool in this process, in an empty directory; what it shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

    def run(*arguments: object) -> str:
        ending = run_tool("visualize.py", *arguments)
        return ending.shown + ending.message

    return run


LABELLED, BESIDE = r"predicted label and score", "truth on the left, prediction on the right"
TASKS = [
    (CLASSIFIER, "classification", LABELLED + r": \d right"),
    (DETECTOR, "detection/", BESIDE),
    (PANOPTIC, "detection/", BESIDE),
    (SEGMENTOR, "segmentation", BESIDE),
]


@pytest.mark.slow
@pytest.mark.parametrize(("config", "folder", "heading"), TASKS)
def test_predictions_become_a_picture(visualize, config, folder, heading):
    save_checkpoint(config, Path("model.pth"))
    prepare_digits(Path("digits"), tasks=[folder.rstrip("/")], num_train=1, num_val=5)
    root = f"test_dataloader.dataset.data_root=digits/{folder}"
    options = ("--out", "new/grid.png", "--count", 4, "--cfg-options", root)
    shown = visualize("predictions", config, "model.pth", *options)
    assert re.search(rf"new/grid.png: 4 random test images.*{heading}\n$", shown), shown
    assert min(cv2.imread("new/grid.png").shape[:2]) > 300


@pytest.mark.slow
def test_feature_maps_and_super_tokens_become_pictures(visualize):
    save_image(Path("image.png"), (64, 96), seed=0)
    arguments = ("--titles", "A", "B", "--out", "features.png", "--blocks", "0.0", "1.-1")
    shown = visualize("features", "image.png", CLASSIFIER, CLASSIFIER, *arguments)
    assert shown.count("no checkpoint is given, its weights are random") == 2
    assert "features.png: 2 models, maps after 2 blocks" in shown
    save_checkpoint(STVIT, Path("stvit.pth"))
    shown = visualize("tokens", "image.png", f"{STVIT}:stvit.pth", "--out", "tokens.png")
    assert "weights are random" not in shown
    assert shown.endswith("tokens.png: super tokens of 2 blocks\n")
    for name in ("features.png", "tokens.png"):
        assert min(cv2.imread(name).shape[:2]) > 200


def test_what_is_wrong_is_said_at_once(visualize):
    save_image(Path("image.png"), (64, 96), seed=0)
    predictions, out = ("predictions", CLASSIFIER, CLASSIFIER), ("--out", "x.png")
    maps = ("features", "image.png", CLASSIFIER)
    cases = {
        ("predictions", "absent.py", "x.pth", *out): "config absent.py does not exist",
        ("predictions", CLASSIFIER, "absent.pth", *out): "checkpoint absent.pth does not exist",
        (*predictions, "--out", "x.jpg"): "the picture is a PNG",
        (*predictions, *out, "--count", 0): "--count 0: takes a number from 1",
        (*predictions, *out): "data_root data/digits/classification does not exist",
        ("features", "absent.png", CLASSIFIER, *out): "image absent.png does not exist",
        ("features", CLASSIFIER, CLASSIFIER, *out): "is no image that OpenCV can read",
        (*maps, *out, "--size", 16): "16x16 pixels, and 32 a side are the least: say --size",
        (*maps, *out, "--titles", "a", "b"): "--titles names 2, and there are 1 to name",
        ("features", "image.png", f"{CLASSIFIER}:absent.pth", *out): "absent.pth does not exist",
        (*maps, *out, "--blocks", "4.0"): "has stages 0 to 3, no stage 4",
        (*maps, *out, "--blocks", "0.2"): "has blocks 0 to 1, no block 2",
        (*maps, *out, "--blocks", "a.b"): "a block is STAGE.BLOCK from 0, such as 2.10 or 1.-1",
        ("tokens", "image.png", CLASSIFIER, *out): "the model has no super tokens",
    }
    for arguments, words in cases.items():
        shown = visualize(*arguments)
        assert "error: " in shown and words in shown, shown
    assert not Path("x.png").exists()
