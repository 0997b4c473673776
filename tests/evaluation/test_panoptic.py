import json
import zipfile
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoPanopticDataset
from PIL import Image

from mmscalablevit.datasets.panoptic import LoadPanopticSegments, read_segment_ids
from mmscalablevit.evaluation.panoptic import (
    PanopticQuality,
    PanopticResults,
    match_segments,
    panoptic_quality,
)


def brute_force(truth, segments, prediction, labels, num_classes):
    """The same counts from sets of pixels."""
    pixels = defaultdict(set), defaultdict(set)
    for place in np.ndindex(truth.shape):
        pixels[0][int(truth[place])].add(place)
        pixels[1][int(prediction[place])].add(place)
    void = pixels[0].get(0, set())
    table = np.zeros((num_classes, 4))
    matched = set()
    for segment in segments:
        if segment["iscrowd"]:
            continue
        found = False
        for predicted, label in labels.items():
            ours, theirs = pixels[1][predicted], pixels[0][segment["id"]]
            union = (ours | theirs) - (ours & void)
            iou = len(ours & theirs) / len(union) if union else 0
            if label == segment["category_id"] and iou > 0.5:
                table[label] += iou, 1, 0, 0
                matched.add(predicted)
                found = True
        if not found:
            table[segment["category_id"], 3] += 1
    for predicted, label in labels.items():
        ours = pixels[1][predicted]
        ignored = set(void)
        for segment in segments:
            if segment["iscrowd"] and segment["category_id"] == label:
                ignored |= pixels[0][segment["id"]]
        if predicted not in matched and ours and len(ours & ignored) / len(ours) <= 0.5:
            table[label, 2] += 1
    return table


def test_matches_equal_those_of_sets_of_pixels():
    for seed in range(20):
        random = np.random.default_rng(seed)
        truth = np.kron(random.integers(0, 5, (4, 4)), np.ones((5, 5), dtype=int))
        prediction = np.where(random.random(truth.shape) < 0.2, 9, truth + 10)
        prediction = np.where(truth == 3, 11, prediction)
        segments = [
            {"id": int(i), "category_id": int(i) % 2, "iscrowd": int(i == 4 and seed % 2)}
            for i in np.unique(truth)
            if i
        ]
        labels = {int(i): int(random.integers(0, 2)) for i in np.unique(prediction) if i != 10}
        labels |= {i: i % 2 for i in (12, 13) if i in labels}
        actual = match_segments(truth, segments, prediction, labels, 3)
        np.testing.assert_allclose(actual, brute_force(truth, segments, prediction, labels, 3))


def test_quality_is_the_mean_over_the_classes_that_occur():
    # Two matches of IoU 0.8 and 0.6 with one extra; none of one; a class that does not occur.
    table = np.array([[1.4, 2, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    pq, sq, rq = panoptic_quality(table)
    assert pq == pytest.approx(100 * (1.4 / 2.5 + 0) / 2)
    assert sq == pytest.approx(100 * (0.7 + 0) / 2)
    assert rq == pytest.approx(100 * (2 / 2.5 + 0) / 2)
    assert panoptic_quality(np.zeros((3, 4))) == (0, 0, 0)


def test_ids_use_all_three_colours():
    assert read_segment_ids(np.array([[[1, 2, 3]]], dtype=np.uint8)).tolist() == [[197_121]]


CLASSES = ("dog", "cat", "sky")


@pytest.fixture
def coco(tmp_path):
    """One image, its left half a dog, its right half sky, and a strip of void."""
    ids = np.full((20, 30), 70_000)
    ids[:, :15] = 5
    ids[:4] = 0
    color = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    (tmp_path / "labels").mkdir()
    Image.fromarray(color).save(tmp_path / "labels" / "1.png")
    segments = [
        {"id": 5, "category_id": 11, "area": 240, "bbox": [0, 4, 15, 16], "iscrowd": 0},
        {"id": 70_000, "category_id": 13, "area": 240, "bbox": [15, 4, 15, 16], "iscrowd": 0},
    ]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 20, "width": 30}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [
            {"id": 11 + i, "name": name, "isthing": int(i < 2)} for i, name in enumerate(CLASSES)
        ],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    return tmp_path, ids


def test_the_metric_of_a_data_set(coco):
    root, ids = coco
    metric = PanopticQuality(str(root / "panoptic.json"), str(root / "labels"))
    metric.dataset_meta = {"classes": CLASSES}
    exact = np.where(ids == 5, 1000, np.where(ids == 70_000, 2, 3))  # 3 is void
    exact[:4] = 1000  # where the truth is void, anything goes
    sample = {"img_id": 1, "pred_panoptic_seg": {"sem_seg": torch.from_numpy(exact)[None]}}
    metric.process({}, [sample])
    metrics = metric.evaluate(1)
    assert set(metrics) == {
        f"coco_panoptic/{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")
    }
    assert all(value == pytest.approx(100) for value in metrics.values())

    wrong = np.where(ids == 5, 1001, 2)  # a cat
    sample["pred_panoptic_seg"]["sem_seg"] = torch.from_numpy(wrong)[None]
    metric.process({}, [sample])
    metrics = metric.evaluate(1)
    assert metrics["coco_panoptic/PQ_th"] == 0
    assert metrics["coco_panoptic/PQ_st"] == pytest.approx(100)
    assert metrics["coco_panoptic/PQ"] == pytest.approx(100 / 3)


def test_loading(coco):
    root, ids = coco
    dataset = CocoPanopticDataset(
        data_root=str(root),
        ann_file="panoptic.json",
        data_prefix={"img": "images", "seg": "labels"},
        metainfo={"classes": CLASSES, "thing_classes": CLASSES[:2], "stuff_classes": CLASSES[2:]},
        pipeline=[],
        test_mode=True,
    )
    results = dataset.get_data_info(0)
    results["ori_shape"] = (20, 30)
    results = LoadPanopticSegments()(results)
    expected = np.where(ids == 5, 0, np.where(ids == 0, 255, 2))
    np.testing.assert_array_equal(results["gt_seg_map"], expected)
    np.testing.assert_array_equal(results["gt_masks"].masks, [ids == 5])
    assert results["gt_bboxes"].tensor.tolist() == [[0, 4, 15, 20]]
    assert results["gt_bboxes_labels"].tolist() == [0]


def test_results_are_those_that_the_server_takes(tmp_path):
    """Held to panoptic quality: the archive, read as truth, is predicted perfectly."""
    categories = [
        {"id": number, "name": name, "isthing": int(number < 50)}
        for number, name in ((3, "cat"), (7, "dog"), (92, "sky"))
    ]
    truth = {"images": [{"id": 5, "file_name": "000000000005.jpg"}], "categories": categories}
    (tmp_path / "info.json").write_text(json.dumps(truth))
    name = "panoptic_test-dev2017_LVT_results"
    metric = PanopticResults(str(tmp_path / f"{name}.zip"), str(tmp_path / "info.json"))
    metric.dataset_meta = {"classes": ("cat", "dog", "sky")}
    ids = np.full((6, 8), 3)  # void
    ids[:2], ids[2:4, :4], ids[2:4, 4:], ids[4:, :2] = 2, 1000, 2000, 1001
    prediction = {"sem_seg": torch.from_numpy(ids)[None]}
    sample = {"img_id": 5, "img_path": "test2017/000000000005.jpg", "pred_panoptic_seg": prediction}
    metric.process(None, [sample])
    assert metric.evaluate(1) == {}
    with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
        assert archive.namelist() == [f"{name}.json", f"{name}/000000000005.png"]
        archive.extractall(tmp_path)
    (annotation,) = json.loads((tmp_path / f"{name}.json").read_text())["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (5, "000000000005.png")
    found = read_segment_ids(np.asarray(Image.open(tmp_path / name / "000000000005.png")))
    assert ((found == 0) == (ids == 3)).all()
    given = {2: 92, 1000: 3, 2000: 3, 1001: 7}
    segments = {s["id"]: s["category_id"] for s in annotation["segments_info"]}
    assert len(segments) == len(annotation["segments_info"]) == 4
    for segment, category in segments.items():
        (predicted,) = np.unique(ids[found == segment])
        assert given[predicted] == category
        assert ((ids == predicted) == (found == segment)).all()
