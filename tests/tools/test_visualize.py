import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmscalablevit.datasets import prepare_digits
from mmscalablevit.visualization import images as image_predictions
from tests.tiny_data import draw_image, save_image

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
DETECTOR = ROOT / "configs/detection/digits/mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py"
SEGMENTOR = ROOT / "configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"


def run(*arguments, cwd=None):
    command = [sys.executable, ROOT / "tools" / "visualize.py", "predictions", *arguments]
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)


def save_random_weights(name, scope, file):
    cfg = Config.fromfile(name)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, file)


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
    save_random_weights(name, scope, tmp_path / "model.pth")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scope", "heading"),
    [
        (CONFIG, "mmpretrain", "2 image(s), predicted label and score"),
        (DETECTOR, "mmdet", "2 image(s), and predictions to the right of each"),
        (SEGMENTOR, "mmseg", "2 image(s), and predictions to the right of each"),
    ],
)
def test_images_of_ones_own_need_no_data_set(tmp_path, name, scope, heading):
    save_random_weights(name, scope, tmp_path / "model.pth")
    images = [tmp_path / "lying.png", tmp_path / "standing.jpg"]
    save_image(images[0], (61, 97), seed=1)
    save_image(images[1], (131, 75), seed=2)
    done = run(name, "model.pth", *images, "--out", "new/grid.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"new/grid.png: {heading}"
    assert min(cv2.imread(str(tmp_path / "new/grid.png")).shape[:2]) > 300


@pytest.mark.parametrize(("name", "scope"), [(CONFIG, "mmpretrain"), (SEGMENTOR, "mmseg")])
def test_predictions_on_files_are_those_of_the_model(tmp_path, monkeypatch, name, scope):
    monkeypatch.chdir(tmp_path)  # where there is no data set
    save_random_weights(name, scope, "model.pth")
    image = draw_image((64, 96), seed=3)
    cv2.imwrite("image.png", image[..., ::-1])
    cfg = Config.fromfile(name)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), f"files-{scope}"
    cfg.visualizer.name = cfg.experiment_name
    runner, steps = image_predictions.build_runner(cfg)
    runner.load_checkpoint("model.pth")
    (sample,) = image_predictions.predict(runner, steps, [Path("image.png")])
    normalize = runner.model.data_preprocessor
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        logits = runner.model((pixels - normalize.mean) / normalize.std)
    if scope == "mmpretrain":
        torch.testing.assert_close(sample.pred_score, logits[0].softmax(dim=0))
    else:
        size = sample.seg_logits.data.shape[-2:]
        logits = torch.nn.functional.interpolate(logits, size=size, mode="bilinear")
        torch.testing.assert_close(sample.seg_logits.data, logits[0], atol=1e-4, rtol=1e-4)
        assert size == (64, 96)
    assert list(runner.visualizer.dataset_meta["classes"])[-1] == "9"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.py", "x.pth", "--out", "x.png"], "config absent.py does not exist"),
        ([CONFIG, "absent.pth", "--out", "x.png"], "checkpoint absent.pth does not exist"),
        ([CONFIG, CONFIG, "--out", "x.jpg"], "the picture is a PNG"),
        ([CONFIG, CONFIG, "absent.png", "--out", "x.png"], "image absent.png does not exist"),
        ([CONFIG, CONFIG, CONFIG, "--out", "x.png"], "is no image that OpenCV can read"),
        ([CONFIG, CONFIG, CONFIG, "--out", "x.png", "--count", "2"], "--count chooses test images"),
        ([CONFIG, CONFIG, "--out", "x.png", "--count", "0"], "--count 0: takes a number from 1"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments, words):
    done = run(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
