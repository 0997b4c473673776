from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image

pytest.importorskip("mmseg")

from mmscalablevit.checks.images import image_findings
from mmscalablevit.checks.label_maps import decode_heads, head_findings, partner_findings

SOFTMAX, SIGMOID = ({"type": "CrossEntropyLoss", "use_sigmoid": value} for value in (False, True))


def segmentor(head: dict, ratio: float = 1.0, **preprocessor) -> Config:
    pipeline = [{"type": "RandomResize", "scale": (64, 64), "ratio_range": (ratio, 2.0)}]
    dataset = {"type": "BaseSegDataset", "pipeline": pipeline}
    model = {
        "data_preprocessor": {"type": "SegDataPreProcessor", **preprocessor},
        "decode_head": {"type": "FCNHead", **head},
    }
    return Config({"model": model, "train_dataloader": {"dataset": dataset}})


def test_a_single_class_needs_another_one_or_a_sigmoid() -> None:
    for head in ({}, {"loss_decode": SOFTMAX}, {"loss_decode": [SOFTMAX, SOFTMAX]}):
        (finding,) = head_findings(segmentor({"num_classes": 1, **head}))
        assert finding.status == "fail" and "model.decode_head: a single class" in finding.found
        assert "num_classes=2" in finding.remedy and "use_sigmoid=True" in finding.remedy
    for head in (
        {"num_classes": 2, "loss_decode": SOFTMAX},
        {"num_classes": 1, "loss_decode": SIGMOID},
        {"num_classes": 1, "loss_decode": [SOFTMAX, {"type": "DiceLoss"}]},
        {"num_classes": 1, "loss_cls": {"type": "mmdet.CrossEntropyLoss"}},
    ):
        assert not list(head_findings(segmentor(head)))


def test_a_classifier_of_a_single_class_learns_nothing() -> None:
    for kind, count in (("LinearClsHead", 1), ("MultiLabelLinearClsHead", 0)):
        model = {"head": {"type": kind, "num_classes": 1}}
        assert len(list(head_findings(Config({"model": model})))) == count
    pytest.importorskip("mmpretrain")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        head = MODELS.build({"type": "LinearClsHead", "num_classes": 1, "in_channels": 4})
    scores = head((torch.rand(2, 4),))
    assert head.loss_module(scores, torch.zeros(2, dtype=torch.long)).item() == 0


def test_pixels_that_images_are_padded_with_are_ignored() -> None:
    def status(ignored: int, ratio: float = 0.5, **preprocessor) -> list[str]:
        cfg = segmentor({"num_classes": 11, "ignore_index": ignored}, ratio, **preprocessor)
        return [finding.status for finding in head_findings(cfg)]

    assert status(11, size=(32, 32)) == ["fail"] == status(11, 1.0, size_divisor=32)
    assert status(11, 1.0, size=(32, 32)) == ["warn"]  # perhaps no image is smaller
    for padded in (11, 0):  # ignored, or meant to be learned
        assert not status(11, size=(32, 32), seg_pad_val=padded)
    assert not status(255, size=(32, 32)) and not status(11)
    (finding,) = head_findings(segmentor({"num_classes": 11, "ignore_index": 11}, 0.5, size=(9, 9)))
    assert finding.remedy == "--cfg-options model.data_preprocessor.seg_pad_val=11"


def test_heads_by_their_places() -> None:
    model = {"decode_head": [{"a": 1}, {"b": 2}], "auxiliary_head": {"c": 3}}
    places = ["model.decode_head.1", "model.decode_head.0", "model.auxiliary_head"]
    assert list(decode_heads(model)) == places


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four scenes with label maps of 0 and 1."""
    for folder in ("images", "maps"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"images/{number}.jpg")
        write_map(tmp_path, number, 1)
    return tmp_path


def write_map(home: Path, number: int, value: int) -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:4] = value
    Image.fromarray(labels).save(home / f"maps/{number}.png")


def build(home: Path, **settings):
    with DefaultScope.overwrite_default_scope("mmseg"):
        return DATASETS.build(
            {
                "type": "BaseSegDataset",
                "data_root": str(home),
                "data_prefix": {"img_path": "images", "seg_map_path": "maps"},
                "metainfo": {"classes": ["nothing", "thing", "rest"][: settings.pop("classes", 2)]},
                "pipeline": [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}],
                **settings,
            }
        )


def test_images_and_label_maps_are_pairs(scenes: Path) -> None:
    assert not list(partner_findings("train", build(scenes)))
    (scenes / "maps/2.png").rename(scenes / "maps/2.PNG")
    (finding,) = partner_findings("train", build(scenes))
    assert finding.status == "fail" and finding.found.startswith(f"{scenes}/maps/2.png does not")
    assert "1 of 4 images have no label map" in finding.found and "'.png'" in finding.remedy
    unlabelled = build(scenes, pipeline=[{"type": "LoadImageFromFile"}])
    assert not list(partner_findings("test", unlabelled))
    (scenes / "images/2.jpg").unlink()
    (scenes / "images/3.jpg").rename(scenes / "images/3.jpeg")
    (finding,) = partner_findings("train", build(scenes))
    assert finding.status == "warn" and "maps/3.png" in finding.found and "'.jpg'" in finding.remedy
    (scenes / "list.txt").write_text("0\n1\n")
    assert not list(partner_findings("train", build(scenes, ann_file="list.txt")))


def test_classes_without_a_pixel(scenes: Path) -> None:
    def judge(classes: int, count: int = 9, ignored: int = 255) -> tuple[str, str]:
        cfg = segmentor({"num_classes": classes, "ignore_index": ignored})
        cfg.default_scope = "mmseg"
        *_, finding = image_findings(cfg, "train", build(scenes, classes=classes), count)
        return finding.status, f"{finding.found} -> {finding.remedy}"

    assert judge(2)[0] == "ok"
    assert judge(3, count=3)[0] == "ok"  # the third class may be in the fourth map
    status, text = judge(3)
    assert status == "warn" and "no pixel of 2 (rest)" in text
    for number in range(4):
        write_map(scenes, number, 255)
    status, text = judge(2, count=3)
    assert status == "warn" and "50% of the pixels ignored; no pixel of 1 (thing)" in text
    assert "if 255 stands for 1 (thing), write 1 in its place" in text
    assert judge(2, ignored=7)[0] == "fail"
