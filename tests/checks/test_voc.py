from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

pytest.importorskip("mmdet")

from mmscalablevit.checks.annotations import coco_findings
from mmscalablevit.checks.voc import voc_findings

OBJECT = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>
<ymax>{3}</ymax></bndbox></object>"""
CELLS = ["red", "white", "platelet"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two images of 40x30 with three boxes."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\n")
    boxes = {"a": [("red", 1, 1, 10, 10), ("white", 5, 5, 20, 30)], "b": [("platelet", 2, 2, 9, 9)]}
    for stem, objects in boxes.items():
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / f"JPEGImages/{stem}.jpg")
        items = "".join(OBJECT.format(*corners, name=name) for name, *corners in objects)
        size = "<size><width>40</width><height>30</height></size>"
        (tmp_path / f"Annotations/{stem}.xml").write_text(f"<annotation>{size}{items}</annotation>")
    return tmp_path


def settings(home: Path, classes: list[str]) -> dict:
    return {
        "type": "XMLDataset",
        "data_root": str(home),
        "data_prefix": {"sub_data_root": ""},
        "ann_file": "ImageSets/Main/train.txt",
        "metainfo": {"classes": classes},
    }


def examine(home: Path, classes: list[str] = CELLS, split: str = "train") -> dict:
    """The findings by their names; none asks for COCO's format."""
    cfg, dataset = Config({"default_scope": "mmdet"}), settings(home, classes)
    assert not list(coco_findings(cfg, split, dataset))
    return {finding.name: finding for finding in voc_findings(cfg, split, dataset)}


def edit(home: Path, stem: str, change: Callable[[str], str]) -> Path:
    path = home / f"Annotations/{stem}.xml"
    path.write_text(change(path.read_text()))
    return path


def test_boxes_are_counted_as_mmdetection_reads_them(home: Path) -> None:
    with DefaultScope.overwrite_default_scope("mmdet"):
        read = DATASETS.build(settings(home, CELLS))
    total = sum(len(read.get_data_info(index)["instances"]) for index in range(len(read)))
    assert total == 3
    findings = examine(home)
    assert findings.keys() == {"train boxes"} and findings["train boxes"].status == "ok"
    assert findings["train boxes"].found == "3 on 2 images"


def test_names_that_are_no_classes_and_classes_that_have_no_box(home: Path) -> None:
    for classes, status, words in (
        (["red", "white"], "warn", "left out: platelet (1)"),
        ([*CELLS, "plasma"], "warn", "no box of plasma"),
        (["Red", "White"], "fail", "no box is of the classes (Red, White)"),
    ):
        finding = examine(home, classes)["train categories"]
        assert finding.status == status and words in finding.found
        assert "(they have platelet, red, white)" in finding.remedy
    for stem in "ab":
        edit(home, stem, lambda text: "<annotation></annotation>")
    assert examine(home)["train categories"].status == "fail"
    assert examine(home, split="test")["test categories"].status == "warn"


def test_a_file_at_fault_is_named_with_its_object(home: Path) -> None:
    first = (home / "Annotations/a.xml").read_text()
    for old, new, words in (
        ("<xmax>20</xmax>", "", "object 2: bndbox has no number xmax"),
        ("<name>white</name>", "", "object 2: no name"),
        ("<width>40</width>", "<width>wide</width>", "size has no number width"),
        ("</annotation>", "", "no element found"),
    ):
        path = edit(home, "a", lambda text, old=old, new=new: text.replace(old, new))
        finding = examine(home)["train annotations"]
        assert finding.status == "fail"
        assert finding.found.startswith(f"{path}: ") and words in finding.found
        path.write_text(first)
    (home / "ImageSets/Main/train.txt").write_text("a 1\n")
    finding = examine(home)["train annotations"]
    assert "a 1.xml: No such file" in finding.found


def test_boxes_of_no_area_or_outside(home: Path) -> None:
    edit(home, "b", lambda text: text.replace("<xmax>9<", "<xmax>2<"))
    edit(home, "a", lambda text: text.replace("<xmin>5<", "<xmin>50<").replace(">20<", ">60<"))
    finding = examine(home)["train boxes"]
    assert finding.status == "warn"
    places = [f"{home}/Annotations/{stem}.xml" for stem in "ab"]
    words = "3 on 2 images; 1 outside their image ({}); 1 of no area ({})"
    assert words.format(*places) in finding.found


def test_masks_are_not_there(home: Path) -> None:
    dataset = {
        **settings(home, CELLS),
        "pipeline": [{"type": "LoadAnnotations", "with_mask": True}],
    }
    first, *_ = voc_findings(Config({"default_scope": "mmdet"}), "val", dataset)
    assert first.status == "fail" and first.found.endswith("no masks, which the pipeline loads")
    assert "with_mask in the pipeline of val_dataloader" in first.remedy
