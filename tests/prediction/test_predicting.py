"""What is written, beside what the frameworks' own inferencers say of the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from mmscalablevit.cli.building import load_model
from mmscalablevit.errors import UsageError
from mmscalablevit.prediction.predicting import Predictor, Settings, encode_labels
from tests.integration.test_image_sizes import spread_scores
from tests.leaves import LEAVES
from tests.tiny_data import save_image

CLASSIFIER = LEAVES["scalablevit-tiny_1xb64_digits"]
DETECTOR = LEAVES["mask-rcnn_scalablevit-tiny_fpn_1xb4_digits"]
PANOPTIC = LEAVES["panoptic-fpn_lvt-tiny_fpn_1xb4_digits"]
SEGMENTOR = LEAVES["scalablevit-tiny_fpn_1xb8_digits-128x128"]
CLASSES = [f"class {number}" for number in range(11)]
SIZES = ((64, 96), (128, 75), (64, 96))


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Photographs of two sizes, in a folder without a data set."""
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"photos/{number}.png") for number in range(len(SIZES))]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        save_image(path, size, seed)
    return paths


def save_model(config: Path, **meta: Any) -> Config:
    """Write ``model.pth``, of an untrained model that finds something all the same."""
    cfg = Config.fromfile(config)
    model, _ = load_model(cfg, None, "cpu")
    spread_scores(model)
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, "model.pth")
    return cfg


def predict(cfg: Config, images: list[Path], **settings: Any) -> list[dict[str, Any]]:
    """Predict images together; what is in the files."""
    predictor = Predictor(cfg, "model.pth", "cpu", Settings(batch_size=3, **settings))
    names = {image: image.stem for image in images}
    assert dict(predictor.run(names, Path("out"))) == dict.fromkeys(images, "")
    records = [
        json.loads(Path(f"out/predictions/{image.stem}.json").read_text()) for image in images
    ]
    sizes = [(record["height"], record["width"]) for record in records]
    assert sizes == list(SIZES) and [record["file"] for record in records] == list(map(str, images))
    return records


@pytest.mark.slow
def test_classifier(images: list[Path]) -> None:
    from mmpretrain import ImageClassificationInferencer

    cfg = save_model(CLASSIFIER, classes=CLASSES[:10])
    records = predict(cfg, images, top_k=3)
    inferencer = ImageClassificationInferencer(str(CLASSIFIER), "model.pth", device="cpu")
    for record, expected in zip(records, inferencer([str(i) for i in images]), strict=True):
        assert (
            record["label"] == expected["pred_label"] and record["name"] == expected["pred_class"]
        )
        scores = np.sort(expected["pred_scores"])[::-1]
        np.testing.assert_allclose([top["score"] for top in record["top"]], scores[:3], atol=1e-5)
        assert record["top"][0] == {key: record[key] for key in ("label", "name", "score")}


@pytest.mark.slow
def test_detector(images: list[Path]) -> None:
    from mmdet.apis import DetInferencer

    cfg = save_model(DETECTOR, classes=CLASSES[:10])
    inferencer = DetInferencer(str(DETECTOR), "model.pth", device="cpu", show_progress=False)
    results = inferencer([str(image) for image in images])["predictions"]
    threshold = sum(results[0]["scores"][9:11]) / 2  # keeps the first ten of an image
    records = predict(cfg, images, score_threshold=threshold)
    assert len(records[0]["objects"]) == 10
    for record, expected in zip(records, results, strict=True):
        scores = [score for score in expected["scores"] if score >= threshold]
        found = record["objects"]
        np.testing.assert_allclose([one["score"] for one in found], scores, atol=1e-4)
        for one in found:
            assert one["name"] == CLASSES[one["label"]]
            differences = np.abs(np.array(expected["bboxes"]) - one["box"]).max(axis=1)
            closest = int(differences.argmin())
            assert differences[closest] < 0.1
            masks = [coco_mask.decode(code) for code in (one["mask"], expected["masks"][closest])]
            assert (masks[0] != masks[1]).mean() < 0.01


@pytest.mark.slow
def test_segmentor(images: list[Path]) -> None:
    from mmseg.apis import MMSegInferencer

    cfg = save_model(SEGMENTOR, classes=CLASSES)
    records = predict(cfg, images)
    inferencer = MMSegInferencer(str(SEGMENTOR), "model.pth", device="cpu")
    inferencer.show_progress = False
    results = inferencer([str(image) for image in images])["predictions"]
    for record, expected in zip(records, results, strict=True):
        labels = np.asarray(Image.open(Path("out", record["label_map"])))
        assert labels.shape == expected.shape and (labels != expected).mean() < 1e-3
        shares = {one["label"]: one["share"] for one in record["classes"]}
        assert {one["name"] for one in record["classes"]} <= set(CLASSES) and len(shares) > 1
        for label, share in shares.items():
            assert share == pytest.approx((labels == label).mean())


@pytest.mark.slow
def test_panoptic_segments_are_objects_without_overlap(images: list[Path]) -> None:
    records = predict(save_model(PANOPTIC), images[:2] + images[2:], pictures=False)
    assert not Path("out/pictures").exists()
    for record in records:
        masks = [coco_mask.decode(one["mask"]) for one in record["objects"]]
        assert masks and np.sum(masks, axis=0).max() == 1
        for mask, one in zip(masks, record["objects"], strict=True):
            rows, columns = mask.nonzero()
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert one["box"] == box and one["name"] in [*map(str, range(10)), "background"]


@pytest.mark.parametrize(
    ("known", "stated", "name"),
    [
        ({"classes": ["a", "b"]}, {"metainfo": {"classes": ["x", "y"]}}, {"a", "b"}),
        ({}, {"metainfo": {"classes": ["x", "y"]}}, {"x", "y"}),
        ({}, {}, {"0", "1"}),
    ],
)
def test_names_are_the_checkpoints_else_the_configs(images, known, stated, name):
    cfg = Config.fromfile(CLASSIFIER)
    cfg.model.head.num_classes, cfg.model.head.topk = 2, 1
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset = {
        "type": "CustomDataset",
        "data_root": "pets",  # which does not exist
        "pipeline": pipeline,
        **stated,
    }
    model, _ = load_model(cfg, None, "cpu")
    content = {"state_dict": model.state_dict(), "meta": {"dataset_meta": known}}
    torch.save(content, "model.pth")
    assert {record["name"] for record in predict(cfg, images, pictures=False)} <= name


def test_images_too_small_for_the_model_are_left_out():
    cfg = save_model(CLASSIFIER)
    save_image(Path("tiny.png"), (20, 40), seed=0)
    predictor = Predictor(cfg, "model.pth", "cpu", Settings())
    [(image, reason)] = predictor.run({Path("tiny.png"): "tiny"}, Path("out"))
    assert image == Path("tiny.png") and "needs images of at least 32 pixels a side" in reason
    assert not list(Path("out").rglob("*.json"))


def test_many_classes_fit_into_a_label_map():
    labels = np.array([[0, 255, 256, 999]])
    for each in (labels, labels[:, :2]):
        Path("map.png").write_bytes(encode_labels(each))
        assert np.array_equal(np.asarray(Image.open("map.png")), each)


def test_a_config_without_a_test_set_cannot_read_images():
    cfg = Config.fromfile(CLASSIFIER)
    cfg.test_dataloader = None
    with pytest.raises(UsageError, match="has no test_dataloader"):
        Predictor(cfg, "model.pth", "cpu", Settings())


@pytest.mark.slow
def test_an_exported_file_predicts_what_its_checkpoint_does(images: list[Path]) -> None:
    pytest.importorskip("onnxruntime")
    from tests.in_process import run_tool

    cfg = save_model(CLASSIFIER, classes=CLASSES[:10])
    expected = predict(cfg, images)
    ending = run_tool("export.py", CLASSIFIER, "model.pth", "--out", "model.onnx")
    assert ending.code == 0, ending
    predictor = Predictor(cfg, "model.onnx", "cpu", Settings(batch_size=3, pictures=False))
    assert not any(
        dict(predictor.run({image: image.stem for image in images}, Path("new"))).values()
    )
    for image, record in zip(images, expected, strict=True):
        found = json.loads(Path(f"new/predictions/{image.stem}.json").read_text())
        assert (found["label"], found["name"]) == (record["label"], record["name"])
        assert found["score"] == pytest.approx(record["score"], abs=1e-4)
