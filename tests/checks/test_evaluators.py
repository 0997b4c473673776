from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

pytest.importorskip("mmdet")

from mmscalablevit.checks.evaluators import evaluator_findings
from mmscalablevit.datasets import prepare_digits

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("digits")
    prepare_digits(home, tasks=("detection",), num_train=3, num_val=2)
    return home / "detection/annotations"


def detector(path: Path, **evaluator) -> Config:
    dataset = {"type": "CocoDataset", "ann_file": str(path), "metainfo": {"classes": DIGITS}}
    return Config(
        {
            "default_scope": "mmdet",
            "model": {"type": "RetinaNet", "bbox_head": {"type": "RetinaHead", "num_classes": 10}},
            "val_dataloader": {"dataset": dataset},
            "val_evaluator": {"type": "CocoMetric", **evaluator},
        }
    )


def test_boxes_are_compared_with_annotations_of_the_same_images(
    annotations: Path, tmp_path
) -> None:
    path = annotations / "instances_val2017.json"
    content = json.loads(path.read_text())
    copy, other = tmp_path / "copy.json", tmp_path / "other.json"
    copy.write_text(json.dumps(content, indent=3))  # other bytes, the same images
    for same in (path, copy, "", "https://host/annotations.json"):
        assert not list(evaluator_findings(detector(path, ann_file=str(same)), "val"))
    cfg = detector(path, ann_file=str(annotations / "instances_train2017.json"))
    (finding,) = evaluator_findings(cfg, "val")
    first = content["images"][0]
    assert finding.status == "fail"
    assert f"image {first['id']} is {first['file_name']} there, and " in finding.found
    assert finding.remedy == f"--cfg-options val_evaluator.ann_file={path}"
    cfg.val_evaluator.format_only = True
    assert not list(evaluator_findings(cfg, "val"))
    content["images"].pop()
    other.write_text(json.dumps(content))
    (finding,) = evaluator_findings(detector(path, ann_file=str(other)), "val")
    assert "and none here" in finding.found
    # More images than the data set has are no fault; images without labels are not evaluated.
    assert not list(evaluator_findings(detector(other, ann_file=str(path)), "val"))
    content.pop("annotations")
    other.write_text(json.dumps(content))
    train = str(annotations / "instances_train2017.json")
    assert not list(evaluator_findings(detector(other, ann_file=train), "val"))


def test_the_evaluators_file_numbers_the_classes_alike(annotations: Path, tmp_path: Path) -> None:
    content = json.loads((annotations / "instances_val2017.json").read_text())
    content["categories"].reverse()
    (tmp_path / "other.json").write_text(json.dumps(content))
    cfg = detector(annotations / "instances_val2017.json", ann_file=str(tmp_path / "other.json"))
    (finding,) = evaluator_findings(cfg, "val")
    assert finding.status == "fail" and "in another order" in finding.found


def test_masks_of_a_model_that_gives_boxes(annotations: Path) -> None:
    path = annotations / "instances_val2017.json"
    (finding,) = evaluator_findings(detector(path, metric=["bbox", "segm"]), "val")
    assert finding.status == "warn" and "val_evaluator: segm needs" in finding.found
    assert "bbox" in finding.remedy


def test_pixels_of_no_class_are_left_out_of_the_evaluation() -> None:
    def segmentor(ignored: int, *evaluators: dict) -> list:
        model = {"decode_head": {"num_classes": 11, "ignore_index": ignored}}
        loader = {"dataset": {"type": "BaseSegDataset"}}
        cfg = {"model": model, "test_dataloader": loader, "test_evaluator": list(evaluators)}
        return list(evaluator_findings(Config(cfg), "test"))

    plain, void = {"type": "IoUMetric"}, {"type": "IoUMetric", "ignore_index": 11}
    assert not segmentor(255, plain) and not segmentor(11, void)
    (finding,) = segmentor(11, void, plain)
    assert finding.status == "warn"
    assert finding.remedy == "--cfg-options test_evaluator.1.ignore_index=11"


def test_an_accuracy_looks_at_no_more_classes_than_there_are() -> None:
    def classifier(classes: int, **settings) -> list:
        model = {"head": {"type": "LinearClsHead", "num_classes": classes}}
        loader = {"dataset": {"type": "CustomDataset"}}
        evaluator = {"type": "Accuracy", **settings}
        cfg = {"model": model, "val_dataloader": loader, "val_evaluator": evaluator}
        return list(evaluator_findings(Config(cfg), "val"))

    assert not classifier(3) and not classifier(5, topk=(1, 5)) and not classifier(3, topk=3)
    (finding,) = classifier(3, topk=(1, 5))
    assert finding.status == "fail" and "best 5 classes, of 3" in finding.found
    assert finding.remedy == "--cfg-options val_evaluator.topk=1"
