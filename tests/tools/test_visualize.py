import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmscalablevit.datasets import prepare_digits

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
DETECTOR = ROOT / "configs/detection/digits/mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py"
SEGMENTOR = ROOT / "configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"


def run(*arguments):
    command = [sys.executable, ROOT / "tools" / "visualize.py", "predictions", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scope", "data", "heading"),
    [
        (CONFIG, "mmpretrain", "classification", "predicted label and score"),
        (DETECTOR, "mmdet", "detection/", "truth on the left"),
        (SEGMENTOR, "mmseg", "segmentation", "truth on the left"),
    ],
)
def test_predictions_become_a_picture(tmp_path, name, scope, data, heading):
    prepare_digits(tmp_path / "digits", tasks=[data.rstrip("/")], num_train=1, num_val=5)
    cfg = Config.fromfile(name)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "model.pth")
    root = f"{tmp_path}/digits/{data}"
    options = [f"test_dataloader.dataset.data_root={root}"]
    if scope == "mmdet":
        options += [f"test_evaluator.ann_file={root}annotations/instances_val2017.json"]
    done = run(
        *(name, tmp_path / "model.pth", "--out", tmp_path / "grid.png", "--count", 4),
        *("--cfg-options", *options),
    )
    assert done.returncode == 0, done.stderr
    assert "4 random test images" in done.stdout and heading in done.stdout
    assert min(cv2.imread(str(tmp_path / "grid.png")).shape[:2]) > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.py", "x.pth", "--out", "x.png"], "config absent.py does not exist"),
        ([CONFIG, "absent.pth", "--out", "x.png"], "checkpoint absent.pth does not exist"),
        ([CONFIG, CONFIG, "--out", "x.jpg"], "the picture is a PNG"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments, words):
    done = run(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
