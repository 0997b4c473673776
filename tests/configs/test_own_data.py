"""The configs of docs/own_data.md, as they stand there, from training to predictions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from PIL import Image

from mmscalablevit.checkpoints import load_file, use_safe_loading
from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.checks.classes import trained_classes
from mmscalablevit.cli.building import build_model
from tests import golden, tiny_data
from tests.in_process import loading_kept, run_tool
from tests.leaves import ROOT

PAGE = (ROOT / "docs/own_data.md").read_text()
CONFIGS = dict(re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```', PAGE, re.M | re.S))
SIZE = (64, 96)  # of the images, height first


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that all configs start from, made of the released model's names and shapes."""
    path = tmp_path_factory.mktemp("weights") / "scalablevit-s_in1k.pth"
    released = golden.released_state_dict("scalablevit_small")
    torch.save({"state_dict": convert({"model": released}).state_dict}, path)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path) -> Path:
    """A checkout, with the page's configs beside the folder ``configs``."""
    monkeypatch.chdir(tmp_path)
    Path("configs").symlink_to(ROOT / "configs")
    Path("checkpoints").symlink_to(weights.parent)
    for name, content in CONFIGS.items():
        Path(f"{name}.py").write_text(content)
    return tmp_path


def write_data(name: str, classes: Sequence[str]) -> None:
    """Write what the page says of a config's files."""
    root = Path("data", name)
    if name == "pets":
        tiny_data.write_class_folders(root, list(classes), {"train": 4, "val": 3})
    elif name == "bccd":
        tiny_data.write_bccd(root, classes, ("train", "val"))
    elif name == "streets":
        for split, number in (("train", 0), ("train", 1), ("val", 2)):
            tiny_data.save_image(root / f"images/{split}/{number}.jpg", SIZE, number)
            labels = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) // 99 % (len(classes) + 1)
            labels[labels == len(classes)] = 255
            path = root / f"labels/{split}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels.astype(np.uint8)).save(path)
    else:
        write_coco(root, classes)


def write_coco(root: Path, classes: Sequence[str]) -> None:
    """Write COCO's JSON with an object of each class on each image."""
    for split, count in (("train", 2), ("val", 1)):
        images, annotations = [], []
        for number in range(count):
            tiny_data.save_image(root / split / f"{number}.jpg", SIZE, number)
            images.append(
                {"id": number, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]}
            )
            for category in range(len(classes)):
                left, top = 5 + 25 * category, 10
                box, corners = [left, top, 20, 40], [left, top, left + 20, top, left + 20, top + 40]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category + 1,
                        "bbox": box,
                        "area": 400,
                        "iscrowd": 0,
                        "segmentation": [corners],
                    }
                )
        categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))


# What makes a training short; all else is as the page and its bases say.
SHORT = [
    "train_cfg.max_epochs=1",
    "train_dataloader.batch_size=2",
    "train_dataloader.dataset.indices=2",
    *(
        f"{split}_dataloader.{key}"
        for split in ("train", "val", "test")
        for key in ("num_workers=0", "persistent_workers=False")
    ),
]
SMALL = {
    "pets": ["train_dataloader.dataset.pipeline.1.scale=64"],
    "streets": [
        "train_dataloader.dataset.pipeline.2.scale=(96,64)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
        "model.data_preprocessor.size=(64,64)",
    ],
}
BOXES = [
    "train_dataloader.dataset.pipeline.2.scale=(96,64)",
    *(f"{split}_dataloader.dataset.pipeline.1.scale=(96,64)" for split in ("val", "test")),
]
# Untrained detectors give low scores, of which MMDetection computes nothing.
FIND_ALL = {
    "cells": ["model.test_cfg.score_thr=0", "model.test_cfg.max_per_img=9"],
    "bccd": ["model.test_cfg.score_thr=0", "model.test_cfg.max_per_img=9"],
    "objects": ["model.test_cfg.rcnn.score_thr=0", "model.test_cfg.rcnn.max_per_img=9"],
}
# As the page names them.
FIGURES = {
    "pets": "accuracy/top1",
    "cells": "coco/bbox_mAP_50",
    "objects": "coco/segm_mAP_50",
    "bccd": "pascal_voc/AP50",
    "streets": "mIoU",
}


def test_the_page_has_a_config_for_each_format() -> None:
    assert sorted(CONFIGS) == sorted(FIGURES)
    for content in CONFIGS.values():
        assert len(content.splitlines()) < 15


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_the_page_train_test_and_predict(home: Path, name: str) -> None:
    cfg = Config.fromfile(f"{name}.py")
    write_data(name, cfg.classes)
    options = ["--cfg-options", *SHORT, *SMALL.get(name, BOXES)]
    ending = run_tool("train.py", f"{name}.py", *options)
    assert ending.code == 0, ending.message
    checkpoint = Path(f"work_dirs/{name}/epoch_1.pth")
    with loading_kept():
        use_safe_loading()
        assert trained_classes(load_file(str(checkpoint))) == cfg.classes
    options += FIND_ALL.get(name, ())
    ending = run_tool("test.py", f"{name}.py", checkpoint, *options)
    assert f"{FIGURES[name]}: " in ending.shown, ending
    image = next(path for path in Path("data", name).rglob("*") if path.suffix in (".jpg", ".JPEG"))
    more = ("--out", "predicted", "--score-threshold", 0)
    ending = run_tool("predict.py", f"{name}.py", checkpoint, image, *more, *options)
    assert ending.code == 0, ending
    [file] = Path("predicted/predictions").glob("*.json")
    record = json.loads(file.read_text())
    found = {one["name"] for one in record.get("objects", record.get("classes", [record]))}
    assert found and found <= set(cfg.classes)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_near_the_image_learn_slowest_and_frozen_ones_not(home: Path, name: str) -> None:
    cfg = Config.fromfile(f"{name}.py")
    cfg.model.backbone.frozen_stages = 1
    with torch.device("meta"):
        model = build_model(cfg, pretrained=False, initialize=False)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(group["params"][0])]: group["lr"] for group in optimizer.param_groups}
    decays = {
        names[id(group["params"][0])]: group["weight_decay"] for group in optimizer.param_groups
    }
    assert not any(name.startswith(("backbone.stages.0.", "backbone.stages.1.")) for name in rates)
    blocks = [f"backbone.stages.2.blocks.{i}.ffn.fc1.weight" for i in range(20)]
    blocks += [f"backbone.stages.3.blocks.{i}.ffn.fc1.weight" for i in range(2)]
    expected = [2e-4 * 0.9**away for away in range(22, 0, -1)]
    assert [rates[block] for block in blocks] == pytest.approx(expected)
    behind = {rate for name, rate in rates.items() if not name.startswith("backbone.stages.")}
    assert behind == {2e-4}
    assert decays[blocks[0]] == 0.05 and decays[blocks[0].replace("weight", "bias")] == 0
