from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mmengine.config import Config

pytest.importorskip("mmdet")

from mmscalablevit.checks.annotations import coco_findings
from mmscalablevit.datasets import prepare_digits
from mmscalablevit.errors import Finding

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("digits")
    prepare_digits(home, tasks=("detection",), num_train=3, num_val=2)
    yield home / "detection/annotations"


def examine(path: Path, kind: str = "CocoDataset", split: str = "train", **metainfo) -> dict:
    """The findings on a file, by their names."""
    metainfo = metainfo or {"classes": DIGITS}
    dataset = {"type": kind, "ann_file": str(path), "metainfo": metainfo}
    cfg = Config({"default_scope": "mmdet"})
    return {finding.name: finding for finding in coco_findings(cfg, split, dataset)}


def changed(source: Path, target: Path, change: Callable[[dict], object]) -> Path:
    """A copy of an annotation file with other content."""
    content = json.loads(source.read_text())
    change(content)
    target.write_text(json.dumps(content))
    return target


def test_a_sound_file(digits: Path) -> None:
    count = len(json.loads((digits / "instances_train2017.json").read_text())["annotations"])
    found = examine(digits / "instances_train2017.json")
    assert found == {"train boxes": Finding("train boxes", "ok", f"{count} on 3 images")}


def test_a_panoptic_file_is_of_segments_things_and_stuff(digits: Path, tmp_path: Path) -> None:
    path = digits / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    segments = sum(len(annotation["segments_info"]) for annotation in content["annotations"])
    names = [category["name"] for category in content["categories"]]
    findings = examine(path, "CocoPanopticDataset", classes=names, thing_classes=DIGITS)
    assert findings == {"train boxes": Finding("train boxes", "ok", f"{segments} on 3 images")}


def test_data_sets_of_other_formats_are_left_alone(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "trainval.txt").write_text("000001\n")
    assert not examine(tmp_path / "trainval.txt", "XMLDataset")
    assert not examine(tmp_path / "absent.json")
    assert not examine(digits / "instances_train2017.json", "NoSuchDataset")


def test_classes_may_stand_in_a_file_or_with_the_data_set(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(DIGITS))
    path = digits / "instances_train2017.json"
    assert examine(path, classes=str(tmp_path / "classes.txt")).keys() == {"train boxes"}
    lacking = examine(path, other="nothing")["train categories"]  # the 80 of COCO
    assert lacking.status == "fail" and "has no category person, bicycle" in lacking.found


def test_only_images_to_predict_may_be_without_boxes(digits: Path, tmp_path: Path) -> None:
    source = digits / "instances_val2017.json"
    path = changed(source, tmp_path / "images.json", lambda content: content.pop("annotations"))
    assert examine(path, split="val")["val boxes"].status == "fail"
    assert examine(path, split="test")["test boxes"].status == "warn"
