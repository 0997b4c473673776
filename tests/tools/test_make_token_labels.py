"""The tool on a few scans of digits, with an untrained teacher."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmscalablevit.cli.building import build_model
from mmscalablevit.datasets import prepare_digits
from mmscalablevit.datasets.token_labels import read_label_map

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "make_token_labels.py"
CONFIG = ROOT / "configs" / "classification" / "digits" / "scalablevit-tiny_1xb64_digits.py"


def run(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Some digits of each class, and a checkpoint."""
    place = tmp_path_factory.mktemp("digits")
    prepare_digits(place / "all", tasks=["classification"])
    for folder in (place / "all" / "classification" / "train").iterdir():
        (place / "train" / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[:2]:
            image.rename(place / "train" / folder.name / image.name)
    model = build_model(Config.fromfile(CONFIG))
    torch.save({"state_dict": model.state_dict()}, place / "teacher.pth")
    return place


def test_writes_a_map_for_each_image_and_goes_on(place):
    arguments = (CONFIG, place / "teacher.pth", place / "train", place / "labels")
    options = ("--img-size", 64, "--device", "cpu", "--batch-size", 8, "--workers", 1)
    done = run(*arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "20 label maps" in done.stdout and "of 20 images" in done.stdout
    assert "20/20" in done.stdout  # the progress
    assert "not linear" not in done.stdout
    maps = sorted((place / "labels").rglob("*.pt"))
    images = sorted((place / "train").rglob("*.png"))
    assert [path.stem for path in maps] == [path.stem for path in images]
    assert all(read_label_map(str(path)).shape == (2, 5, 2, 2) for path in maps)
    maps[3].unlink()
    done = run(*arguments, *options)
    assert "19 images have a label map" in done.stdout and "1 label maps" in done.stdout
    assert maps[3].is_file()
    assert "complete" in run(*arguments, *options).stdout
    for image, content in ((images[0], b""), (images[1], b"no image")):
        image.write_bytes(content)
    for image in images[:2]:
        done = run(*arguments, *options, "--overwrite")
        assert done.returncode == 1
        assert f"error: {image} cannot be decoded" in done.stderr
        image.unlink()


def test_messages(place):
    done = run(CONFIG, place / "teacher.pth", place / "train", place / "none", "--device", "cpu")
    assert done.returncode == 1
    assert "give --img-size" in done.stderr and "Traceback" not in done.stderr
    other = CONFIG.with_name("lvt-tiny_1xb64_digits.py")
    done = run(other, place / "teacher.pth", place / "train", place / "none", "--img-size", 64)
    assert done.returncode == 1
    assert "name the config that it was trained with" in done.stderr
    assert not (place / "none").exists()
