"""Data sets in other formats than COCO's: examined as far as can be, never asked for another."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmscalablevit.preflight.examination import Options, examine_data
from tests import tiny_projects
from tests.in_process import process_kept, run_tool

Settings = tuple[str, dict[str, Any], dict[str, Any]]  # scope, model, data set

XML = """<annotation><folder>images</folder><size><width>64</width><height>64</height></size>
<object><name>{}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>40</xmax><ymax>50</ymax></bndbox>
</object></annotation>"""


def image(path: Path, value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(path)


def detector(classes: int) -> dict[str, Any]:
    return {"type": "RetinaNet", "bbox_head": {"num_classes": classes}}


def wider_face(home: Path) -> Settings:
    image(home / "images/a.jpg")
    (home / "Annotations").mkdir()
    (home / "Annotations/a.xml").write_text(XML.format("face"))
    (home / "train.txt").write_text("a\n")
    dataset = {"type": "WIDERFaceDataset", "ann_file": "train.txt", "data_prefix": {"img": ""}}
    return "mmdet", detector(1), dataset


def crowd_human(home: Path) -> Settings:
    image(home / "Images/a.jpg")
    box = {"tag": "person", "fbox": [5, 6, 30, 30], "vbox": [5, 6, 30, 30], "hbox": [5, 6, 9, 9]}
    line = {"ID": "a", "gtboxes": [{**box, "extra": {}, "head_attr": {}}]}
    (home / "train.odgt").write_text(json.dumps(line) + "\n")
    (home / "ids.json").write_text(json.dumps({"a": [64, 64]}))
    dataset = {
        "type": "CrowdHumanDataset", "ann_file": "train.odgt",
        "data_prefix": {"img": "Images"}, "extra_ann_file": str(home / "ids.json"),
    }  # fmt: skip
    return "mmdet", detector(1), dataset


def cityscapes(home: Path) -> Settings:
    image(home / "leftImg8bit/ulm/a.png")
    names = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    box = {"bbox": [5, 6, 30, 30], "area": 900, "iscrowd": 0, "image_id": 1}
    content = {
        "images": [{"id": 1, "file_name": "ulm/a.png", "height": 64, "width": 64,
                    "segm_file": "ulm/a_labels.png"}],
        "annotations": [{"id": 1, "category_id": 3, **box}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }  # fmt: skip
    (home / "train.json").write_text(json.dumps(content))
    prefix = {"img": "leftImg8bit"}
    dataset = {"type": "CityscapesDataset", "ann_file": "train.json", "data_prefix": prefix}
    return "mmdet", detector(8), dataset


def open_images(home: Path) -> Settings:
    image(home / "OpenImages/train/a.jpg")
    (home / "train.csv").write_text("ImageID,...\na,x,/m/1,1,0.1,0.5,0.1,0.6,0,0,0,0,0\n")
    (home / "labels.csv").write_text("/m/1,Cell\n/m/2,Platelet\n")
    (home / "tree.json").write_text(json.dumps({"LabelName": "/m/0", "Subcategory": []}))
    metas = [{"filename": "OpenImages/train/a.jpg", "ori_shape": (64, 64, 3)}]
    (home / "metas.pkl").write_bytes(pickle.dumps(metas))
    files = {"label_file": "labels.csv", "hierarchy_file": "tree.json"}
    dataset = {
        "type": "OpenImagesDataset", "ann_file": "train.csv", "meta_file": "metas.pkl",
        "data_prefix": {"img": "OpenImages/train/"},
        **{key: str(home / name) for key, name in files.items()},
    }  # fmt: skip
    return "mmdet", detector(2), dataset


def listed_maps(home: Path) -> Settings:
    for stem in ("a", "b"):
        image(home / f"img/{stem}.jpg")
        labels = Image.fromarray(np.eye(64, dtype=np.uint8))
        (home / "ann").mkdir(exist_ok=True)
        labels.save(home / f"ann/{stem}.png")
    (home / "train.txt").write_text("a\n")
    steps = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    dataset = {
        "type": "BaseSegDataset", "ann_file": "train.txt", "pipeline": steps,
        "data_prefix": {"img_path": "img", "seg_map_path": "ann"},
        "metainfo": {"classes": ["ground", "line"]},
    }  # fmt: skip
    return "mmseg", {"type": "EncoderDecoder", "decode_head": {"num_classes": 2}}, dataset


def listed_images(home: Path) -> Settings:
    image(home / "train/a.jpg")
    image(home / "train/b.jpg")
    (home / "meta").mkdir()
    (home / "meta/train.txt").write_text("a.jpg 0\nb.jpg 999\n")
    dataset = {"type": "ImageNet", "ann_file": "meta/train.txt", "data_prefix": "train"}
    return "mmpretrain", {"head": {"num_classes": 1000}}, dataset


def several_labels(home: Path) -> Settings:
    image(home / "a.jpg")
    content = {
        "metainfo": {"classes": ["A", "B", "C"]},
        "data_list": [{"img_path": "a.jpg", "gt_label": [0, 2]}],
    }
    (home / "train.json").write_text(json.dumps(content))
    model = {"head": {"type": "MultiLabelLinearClsHead", "num_classes": 3}}
    return "mmpretrain", model, {"type": "MultiLabelDataset", "ann_file": "train.json"}


FORMATS = (
    wider_face, crowd_human, cityscapes, open_images, listed_maps, listed_images, several_labels
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_data_in_other_formats_are_not_refused(
    make: Callable[[Path], Settings], tmp_path: Path
) -> None:
    scope, model, dataset = make(tmp_path)
    pytest.importorskip(scope)
    loader = {
        "batch_size": 1, "sampler": {"type": "DefaultSampler"},
        "dataset": {"pipeline": [], **dataset, "data_root": str(tmp_path)},
    }  # fmt: skip
    parts = {"train_dataloader": loader, "train_cfg": {}, "optim_wrapper": {}}
    cfg = Config({"default_scope": scope, "model": model, **parts})
    loaders: dict[str, DataLoader] = {}
    with process_kept():
        init_default_scope(scope)
        findings = list(examine_data(cfg, Options("own.py"), loaders))
    assert not [finding for finding in findings if finding.status == "fail"], findings
    assert not any("COCO" in finding.found + finding.remedy for finding in findings)
    assert list(loaders) == ["train"]


@pytest.mark.slow
def test_pascal_voc_is_examined_trained_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the preflight to ``--eval mAP``, which is VOCMetric's name."""
    pytest.importorskip("mmdet")
    monkeypatch.chdir(tmp_path)
    tiny_projects.write(tmp_path)
    for stem in ("a", "b"):
        image(tmp_path / f"voc/JPEGImages/{stem}.jpg")
        (tmp_path / "voc/Annotations").mkdir(exist_ok=True)
        (tmp_path / f"voc/Annotations/{stem}.xml").write_text(XML.format("7"))
    (tmp_path / "voc/list.txt").write_text("a\nb\n")
    (tmp_path / "voc.py").write_text(
        '_base_ = "detection.py"\n'
        'load, box = dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)\n'
        'keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")\n'
        'steps = [load, dict(type="Resize", scale=(64, 64)), box,'
        ' dict(type="PackDetInputs", meta_keys=keys)]\n'
        'root = dict(type="XMLDataset", data_root="voc", ann_file="list.txt", pipeline=steps,'
        ' data_prefix=dict(_delete_=True, sub_data_root=""))\n'
        "train_dataloader = dict(dataset=root)\nval_dataloader = dict(dataset=root)\n"
        "test_dataloader = dict(dataset=root)\n"
        'val_evaluator = dict(_delete_=True, type="VOCMetric", metric="mAP", eval_mode="area")\n'
        "test_evaluator = val_evaluator\n"
    )
    shown = run_tool("preflight.py", "voc.py")
    assert shown.code == 0 and "COCO" not in shown.shown, shown.shown
    assert "no box of 0, 1, 2, 3, 4 and 4 more" in " ".join(shown.shown.split())
    assert run_tool("train.py", "voc.py").code == 0
    tested = run_tool("test.py", "voc.py", "work_dirs/voc/iter_1.pth", "--eval", "mAP")
    assert tested.code == 0 and "pascal_voc/mAP: " in tested.shown, tested
