"""Panoptic segmentation of images whose annotations a server has: what is sent to it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmscalablevit.cli.building import build_model
from mmscalablevit.datasets.panoptic import read_segment_ids
from tests.in_process import run_tool
from tests.leaves import LEAVES

NAME = "panoptic_test-dev2017_LVT_results"


@pytest.mark.slow
def test_the_archive_has_a_label_image_and_segments_for_each_image(
    at_home: Path, tmp_path: Path
) -> None:
    annotations = at_home / "data/coco/annotations"
    info = json.loads((annotations / "panoptic_val2017.json").read_text())
    del info["annotations"]
    (annotations / "panoptic_image_info_test-dev2017.json").write_text(json.dumps(info))
    shutil.copytree(at_home / "data/coco/val2017", at_home / "data/coco/test2017")
    config = LEAVES["panoptic-fpn_lvt_fpn_ms-3x_coco-test-dev"]
    model = build_model(Config.fromfile(config), pretrained=False)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "lvt.pth")
    options = ["test_dataloader.num_workers=0", "test_dataloader.persistent_workers=False"]
    out = tmp_path / f"{NAME}.zip"
    ending = run_tool(
        "test.py", config, tmp_path / "lvt.pth", "--out", out,
        "--work-dir", tmp_path, "--cfg-options", *options,
    )  # fmt: skip
    assert ending.code == 0, ending.message
    assert f"written: {out}" in ending.shown
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path)
    results = json.loads((tmp_path / f"{NAME}.json").read_text())["annotations"]
    assert {result["image_id"] for result in results} == {image["id"] for image in info["images"]}
    sizes = {image["id"]: (image["height"], image["width"]) for image in info["images"]}
    for result in results:
        ids = read_segment_ids(np.asarray(Image.open(tmp_path / NAME / result["file_name"])))
        assert ids.shape == sizes[result["image_id"]]
