import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmscalablevit.datasets import prepare_digits

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"


def run(*arguments):
    command = [sys.executable, ROOT / "tools" / "visualize.py", "predictions", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


@pytest.mark.slow
def test_predictions_become_a_picture(tmp_path):
    prepare_digits(tmp_path / "digits", tasks=["classification"])
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "model.pth")
    done = run(
        *(CONFIG, tmp_path / "model.pth", "--out", tmp_path / "grid.png", "--count", 12),
        *("--cfg-options", f"test_dataloader.dataset.data_root={tmp_path}/digits/classification"),
    )
    assert done.returncode == 0, done.stderr
    assert "12 random test images" in done.stdout
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
