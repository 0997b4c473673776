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


def examine(
    path: Path,
    kind: str = "CocoDataset",
    split: str = "train",
    metric: dict | None = None,
    pipeline: list | None = None,
    **metainfo,
) -> dict[str, Finding]:
    """The findings on a file, by their names; a metric is given the file, too."""
    metainfo = metainfo or {"classes": DIGITS}
    dataset = {"type": kind, "ann_file": str(path), "metainfo": metainfo, "pipeline": pipeline}
    evaluator = {"ann_file": str(path), **metric} if metric else None
    cfg = Config({"default_scope": "mmdet", f"{split}_evaluator": evaluator})
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


COCO = {"type": "CocoMetric", "metric": "bbox"}


def drop(part: str, key: str, first: int = 0) -> Callable[[dict], object]:
    """Takes a key out of the entries from one on."""

    def change(content: dict) -> None:
        for entry in content[part][first:]:
            del entry[key]

    return change


def test_each_key_that_is_read_is_missed_by_its_file_and_entry(digits: Path, tmp_path) -> None:
    source = digits / "instances_val2017.json"
    content = json.loads(source.read_text())
    second = content["annotations"][1]["id"]
    total = len(content["annotations"])
    for key in ("image_id", "category_id", "bbox", "area"):
        path = changed(source, tmp_path / "lacking.json", drop("annotations", key, 1))
        (finding,) = examine(path).values()
        assert finding.name == "train annotations" and finding.status == "fail" and finding.remedy
        expected = f"{path}: annotation {second} has no {key} (and {total - 2} more of {total})"
        assert finding.found == expected
    for part, entry, keys in (
        ("images", "image", ("file_name", "height", "width")),
        ("categories", "category", ("name",)),
    ):
        for key in keys:
            path = changed(source, tmp_path / "lacking.json", drop(part, key))
            (finding,) = examine(path).values()
            assert f"{path}: {entry} {content[part][0]['id']} has no {key}" in finding.found
    path = changed(source, tmp_path / "null.json", lambda new: new["images"][0].update(width=None))
    assert "has no width" in examine(path)["train annotations"].found


def test_what_only_the_evaluation_reads_is_asked_for_there(digits: Path, tmp_path: Path) -> None:
    source = digits / "instances_val2017.json"
    path = changed(source, tmp_path / "lacking.json", drop("annotations", "iscrowd"))
    assert examine(path).keys() == {"train boxes"}
    assert examine(path, split="val", metric={**COCO, "format_only": True}).keys() == {"val boxes"}
    assert examine(path, split="val", metric={**COCO, "ann_file": ""}).keys() == {"val boxes"}
    finding = examine(path, split="val", metric=COCO)["val evaluation"]
    assert finding.status == "fail" and "annotation 1 has no iscrowd" in finding.found
    assert "0 for single objects" in finding.remedy


def test_annotations_are_numbered_from_1_and_each_once(digits: Path, tmp_path: Path) -> None:
    def from_0(content: dict) -> None:
        for number, annotation in enumerate(content["annotations"]):
            annotation["id"] = number

    source = digits / "instances_val2017.json"
    path = changed(source, tmp_path / "zero.json", from_0)
    assert examine(path).keys() == {"train boxes"}  # no matter in training
    finding = examine(path, split="test", metric=COCO)["test evaluation"]
    assert finding.status == "warn" and "annotation id 0 counts as missed" in finding.found
    assert finding.remedy == "number the annotations from 1"
    path = changed(path, path, lambda content: content["annotations"][1].update(id=0))
    assert "the same id: 0" in examine(path)["train annotations"].found


def test_objects_need_outlines_where_masks_are_trained(digits: Path, tmp_path: Path) -> None:
    def hollow(content: dict) -> None:
        content["annotations"][0]["segmentation"] = []
        del content["annotations"][1]["segmentation"]

    path = changed(digits / "instances_train2017.json", tmp_path / "hollow.json", hollow)
    masks = [{"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}]
    nested = [{"type": "RandomChoice", "transforms": [masks]}]
    assert examine(path, pipeline=[{"type": "LoadAnnotations"}]).keys() == {"train boxes"}
    for pipeline in (masks, nested):
        finding = examine(path, pipeline=pipeline)["train masks"]
        assert finding.status == "fail"
        assert "annotation 1 has no segmentation (and 1 more" in finding.found
    labels = {
        item["id"]: item["category_id"] for item in json.loads(path.read_text())["annotations"]
    }
    others = [name for name in DIGITS if int(name) + 1 not in (labels[1], labels[2])]
    assert "train masks" not in examine(path, pipeline=masks, classes=others)


def test_a_byte_order_mark_is_told(digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_text((digits / "instances_train2017.json").read_text(), encoding="utf-8-sig")
    (finding,) = examine(path).values()
    assert finding.status == "fail" and f"{path} begins with a byte order mark" in finding.found


def test_data_sets_that_read_their_files_otherwise_are_not_asked_for_keys(digits, tmp_path) -> None:
    mmdet = pytest.importorskip("mmdet.datasets")

    class Sparse(mmdet.CocoDataset):
        def parse_data_info(self, raw_data_info: dict) -> dict:
            return {}

    path = changed(
        digits / "instances_train2017.json", tmp_path / "sparse.json", drop("annotations", "bbox")
    )
    assert not examine(path, Sparse)
    path.write_text("no JSON")
    assert not examine(path, Sparse)
