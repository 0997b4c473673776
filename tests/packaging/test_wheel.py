"""A wheel, installed beside the stack, does from any folder what a checkout does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "model-index.yml")
FOLDERS = ("mmscalablevit", "configs", "tools", "requirements")

# Before MMPretrain is imported, since MMPretrain's names have to be there whichever comes first.
NAMES = """
import json
import mmscalablevit
import numpy as np
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.hub import get_config
from mmpretrain import ImageClassificationInferencer, get_model, list_models
from mmseg.apis import MMSegInferencer

image = np.zeros((64, 64, 3), np.uint8)
model = get_model("stvit-small_8xb128_in1k")
classified = ImageClassificationInferencer("lvt_8xb128_in1k", pretrained=False)(image)[0]
detector = str(mmscalablevit.find_config("retinanet_scalablevit-tiny_fpn_1xb4_digits"))
segmentor = str(mmscalablevit.find_config("scalablevit-tiny_fpn_1xb8_digits-128x128"))
base = Config.fromfile("own.py")
print(json.dumps({
    "package": mmscalablevit.__file__,
    "names": list_models("*scalablevit*"),
    "parameters": sum(p.numel() for p in model.parameters()),
    "scores": len(classified["pred_scores"]),
    "boxes": len(DetInferencer(detector, device="cpu")(image)["predictions"][0]["bboxes"]),
    "labels": MMSegInferencer(segmentor, device="cpu")(image)["predictions"].shape,
    "base": base.model.type,
    "hub": get_config("mmscalablevit::segmentation/lvt/lvt_segformer_8xb2-160k_ade20k-512x512.py")
    .model.backbone.type,
}))
"""
OWN = """
_base_ = "mmscalablevit::classification/digits/lvt-tiny_1xb64_digits.py"
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, made of a copy of the checkout, since setuptools leaves a folder there."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=ignored)
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run(command, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, and the stack of this one below it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (own / "stack.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*command, "--target", str(own), str(wheel)], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own, with a config and an image of each digit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "own.py").write_text(OWN)
    for split in ("train", "val"):
        for digit in range(10):
            folder = tmp_path / "data" / "digits" / "classification" / split / str(digit)
            folder.mkdir(parents=True)
            pixels = np.full((32, 32), 25 * digit, np.uint8)
            Image.fromarray(pixels).save(folder / "0.png")
    return tmp_path


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_names_resolve(python: Path, place: Path) -> None:
    found = json.loads(run(python, "-c", NAMES).splitlines()[-1])
    assert Path(found["package"]).is_relative_to(python.parents[1])
    assert "scalablevit-small_8xb128_in1k" in found["names"]
    assert found["parameters"] == 25495624  # of the released STViT-S
    assert (found["scores"], found["labels"]) == (1000, [64, 64])
    assert (found["base"], found["hub"]) == ("ImageClassifier", "LVT")


@pytest.mark.slow
def test_tools_run(python: Path, place: Path) -> None:
    run(python, "-m", "mmscalablevit", "train", "own.py", "--work-dir", "run")
    name = "lvt-tiny_1xb64_digits"
    shown = run(python, "-m", "mmscalablevit", "test", name, "run/epoch_1.pth")
    assert "accuracy/top1: " in shown
    assert (place / "work_dirs" / name / "metrics.json").is_file()
    assert "ScalableViT-L" in run(python, "-m", "mmscalablevit", "reproduce", "list", "2")


@pytest.mark.slow
def test_a_tool_that_is_none(python: Path, place: Path) -> None:
    command = [python, "-m", "mmscalablevit", "tarin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no tool 'tarin'; there are benchmark" in done.stderr
