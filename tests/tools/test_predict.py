import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.in_process import run_tool
from tests.leaves import LEAVES
from tests.tiny_data import save_image
from tests.tiny_projects import save_checkpoint

CLASSIFIER = LEAVES["scalablevit-tiny_1xb64_digits"]
SEGMENTOR = LEAVES["scalablevit-tiny_fpn_1xb8_digits-128x128"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder of photographs, three of them no images, and a checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    for seed, name in enumerate(("a/1.png", "a/2.jpg", "b/1.png", "b/cut.jpg")):
        save_image(Path("photos", name), (48, 64), seed)
    cut = Path("photos/b/cut.jpg")
    cut.write_bytes(cut.read_bytes()[:300])
    Path("photos/b/empty.png").touch()
    Path("photos/b/text.jpg").write_text("no image")


def predict(*arguments):
    ending = run_tool("predict.py", *arguments)
    return ending.code, ending.shown + ending.message


def test_what_can_be_read_is_predicted_and_the_rest_named():
    save_checkpoint(CLASSIFIER, Path("model.pth"))
    folder = ("--out", "out/new")
    code, shown = predict(CLASSIFIER, "model.pth", "photos", *folder, "--batch-size", 2)
    assert code == 1 and "out/new: predictions of 3 images\n" in shown
    assert "left out, 3 of 6:" in shown
    for name in ("cut.jpg", "empty.png", "text.jpg"):
        assert f"\n  photos/b/{name}: cannot be decoded: it is damaged or no image" in shown
    names = {"a/1", "a/2", "b/1"}
    for kind, suffix in (("predictions", ".json"), ("pictures", ".png")):
        written = {path for path in Path("out/new", kind).rglob("*") if path.is_file()}
        assert written == {Path("out/new", kind, f"{name}{suffix}") for name in names}
    assert min(cv2.imread("out/new/pictures/b/1.png").shape[:2]) >= 384
    read = json.loads(Path("out/new/predictions/b/1.json").read_text())
    assert read["file"] == "photos/b/1.png" and len(read["top"]) == 5

    # again into the folder: nothing is replaced unless that is asked for
    Path("out/new/mine.txt").touch()
    picture = Path("out/new/pictures/a/1.png")
    picture.write_bytes(b"mine")
    code, shown = predict(CLASSIFIER, "model.pth", "photos/a", *folder)
    assert code == 0 and Path("out/new/predictions/1.json").is_file()  # other names
    code, shown = predict(CLASSIFIER, "model.pth", "photos", *folder)
    assert code == 1 and "there already: " in shown and "add --overwrite" in shown
    assert picture.read_bytes() == b"mine"
    code, shown = predict(CLASSIFIER, "model.pth", "photos", *folder, "--overwrite")
    assert cv2.imread(str(picture)) is not None and Path("out/new/mine.txt").exists()


def test_pictures_of_an_earlier_run_are_no_images():
    save_checkpoint(SEGMENTOR, Path("model.pth"))
    more = ("--out", "photos/a", "--no-pictures")
    for options in ((), ("--overwrite",)):
        code, shown = predict(SEGMENTOR, "model.pth", "photos/a", *more, *options)
        assert code == 0 and "predictions of 2 images" in shown
    labels = cv2.imread("photos/a/labels/1.png", cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 64) and labels.dtype == np.uint8 and labels.max() < 11


def test_what_is_wrong_is_said_at_once():
    save_checkpoint(SEGMENTOR, Path("other.pth"))
    images, out = "photos/a", ("--out", "out")
    cases = {
        ("absent.py", "other.pth", images, *out): "config absent.py does not exist",
        (CLASSIFIER, "absent.pth", images, *out): "checkpoint absent.pth does not exist",
        (CLASSIFIER, "other.pth", images, *out): "the checkpoint is not one of this config's model",
        (CLASSIFIER, "other.pth", "photo", *out): "there is no image or folder photo",
        (CLASSIFIER, "other.pth", images, "--out", "other.pth"): "is a file: name a folder",
        (CLASSIFIER, "other.pth", images, *out, "--device", "gpu"): "--device gpu: ",
        (CLASSIFIER, "photos/b/text.jpg", images, *out): "is truncated, damaged or not a PyTorch",
    }
    for arguments, words in cases.items():
        code, shown = predict(*arguments)
        assert code == 1 and "error: " in shown and words in shown, shown
    assert not list(Path().rglob("*.json"))
