from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sklearn.datasets import load_digits

from mmscalablevit.datasets import (
    DETECTION_METAINFO,
    SEGMENTATION_METAINFO,
    digits_export,
    prepare_digits,
)

TOOL = Path(__file__).parents[2] / "tools" / "prepare_digits.py"
FEW = ["--train-scenes", "12", "--val-scenes", "6"]
SEGMENTATION_SPLITS = {"train": "training", "val": "validation"}


def run_tool(*args: str | Path) -> None:
    """Run the tool within this process; refusals raise SystemExit."""
    runpy.run_path(str(TOOL))["main"]([str(arg) for arg in args])


def files_below(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "some" / "digits"
    run_tool("--out", out, *FEW)
    return out


@pytest.fixture(params=["train", "val"])
def split(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def coco(digits: Path, split: str) -> COCO:
    return COCO(str(digits / f"detection/annotations/instances_{split}2017.json"))


def test_nothing_but_the_three_data_sets_is_left(digits: Path):
    assert sorted(path.name for path in digits.iterdir()) == [
        "classification",
        "detection",
        "segmentation",
    ]
    assert [path.name for path in digits.parent.iterdir()] == ["digits"]


def test_classification_holds_every_scan_once_under_its_digit(digits: Path):
    truth = load_digits()
    seen = []
    for split, count in (("train", 1397), ("val", 400)):
        paths = sorted((digits / "classification" / split).glob("*/*.png"))
        assert len(paths) == count
        for path in paths:
            image = Image.open(path)
            assert image.mode == "L" and image.size == (32, 32)
            index = int(path.stem.removeprefix("scan_"))
            assert path.parent.name == str(truth.target[index])
            # Averaged over its 4x4 blocks the picture is the scan again, a little smoothed.
            cells = np.asarray(image, float).reshape(8, 4, 8, 4).mean(axis=(1, 3)) * 16 / 255
            assert np.corrcoef(cells.ravel(), truth.data[index])[0, 1] > 0.97
            seen.append(index)
    assert sorted(seen) == list(range(1797))


def test_coco_boxes_areas_and_masks_agree(coco: COCO):
    assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list("0123456789")
    assert len(coco.anns) > 2 * len(coco.imgs)
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        ys, xs = mask.nonzero()
        box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        assert annotation["bbox"] == box
        assert annotation["area"] == mask.sum() > 100
        assert annotation["iscrowd"] == 0
        assert load_digits().target[annotation["scan"]] == annotation["category_id"] - 1


def test_scenes_show_scans_and_photo_columns_of_their_split_only(digits: Path):
    scans, columns = {}, {}
    for split in ("train", "val"):
        path = digits / f"detection/annotations/instances_{split}2017.json"
        content = json.loads(path.read_text())
        scans[split] = {entry["scan"] for entry in content["annotations"]}
        crops = [entry["crop"] for entry in content["images"]]
        columns[split] = {x for left, _, width, _ in crops for x in range(left, left + width)}
        names = (digits / "classification" / split).glob("*/*.png")
        assert scans[split] <= {int(path.stem.removeprefix("scan_")) for path in names}
    assert not scans["train"] & scans["val"]
    assert not columns["train"] & columns["val"]


def test_detection_and_segmentation_show_the_same_scenes(digits: Path, coco: COCO, split: str):
    folder = digits / "segmentation"
    names = [image["file_name"] for image in coco.imgs.values()]
    assert len(names) == {"train": 12, "val": 6}[split]
    for place in (
        digits / f"detection/{split}2017",
        folder / "images" / SEGMENTATION_SPLITS[split],
    ):
        assert sorted(path.name for path in place.iterdir()) == names
    for image_id, image in coco.imgs.items():
        name = image["file_name"]
        detection = digits / f"detection/{split}2017" / name
        segmentation = folder / "images" / SEGMENTATION_SPLITS[split] / name
        assert detection.read_bytes() == segmentation.read_bytes()
        assert Image.open(detection).mode == "RGB"
        assert Image.open(detection).size == (image["width"], image["height"]) == (128, 128)
        labels = Image.open(folder / "annotations" / SEGMENTATION_SPLITS[split] / name)
        assert labels.mode == "L"
        expected = np.zeros((128, 128), int)
        for annotation in coco.imgToAnns[image_id]:
            expected += coco.annToMask(annotation) * annotation["category_id"]
        np.testing.assert_array_equal(np.asarray(labels), expected)


def test_images_are_on_the_disk_once_and_copied_where_links_fail(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = digits / "detection/train2017/train_000001.png"
    assert os.path.samefile(first, digits / "segmentation/images/training/train_000001.png")

    def no_links(source: Path, target: Path) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    prepare_digits(tmp_path / "digits", tasks=["segmentation", "detection"], num_train=1, num_val=1)
    made = files_below(tmp_path / "digits")
    copy = made["segmentation/images/training/train_000001.png"]
    assert copy == made["detection/train2017/train_000001.png"]


def test_same_seed_same_bytes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_tool("--out", tmp_path / "again", *FEW)
    assert f"detection: {tmp_path}/again/detection" in capsys.readouterr().out
    assert files_below(tmp_path / "again") == files_below(digits)
    run_tool("--out", tmp_path / "other", *FEW, "--seed", "1")
    assert files_below(tmp_path / "other").keys() != files_below(digits).keys()


def test_refuses_to_overwrite_but_adds_a_missing_task(tmp_path: Path):
    out = tmp_path / "digits"
    run_tool("--out", out, *FEW, "--tasks", "segmentation")
    before = files_below(out)
    with pytest.raises(SystemExit, match="another --out, or delete") as refusal:
        run_tool("--out", out, *FEW)
    assert str(out / "segmentation") in str(refusal.value)
    assert files_below(out) == before
    run_tool("--out", out, *FEW, "--tasks", "detection")
    after = files_below(out)
    assert before.items() <= after.items()
    assert sorted(path.name for path in out.iterdir()) == ["detection", "segmentation"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="is a file"):
        run_tool("--out", tmp_path / "file", *FEW)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "option", [["--seed", "-1"], ["--size", "10"], ["--val-scenes", "0"], ["--tasks", "panoptic"]]
)
def test_impossible_options_are_refused_before_work(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as refusal:
        run_tool("--out", tmp_path / "digits", *option)
    assert refusal.value.code == 2 and option[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[Path] = []
    write_png = digits_export._write_png

    def interrupted(pixels: np.ndarray, path: Path) -> None:
        if len(written) == 5:
            assert path.relative_to(tmp_path).parts[0].startswith(".incomplete-")
            raise KeyboardInterrupt
        write_png(pixels, path)
        written.append(path)

    monkeypatch.setattr(digits_export, "_write_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_digits(tmp_path / "digits")
    assert len(written) == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "package"), [("pycocotools.mask", "pycocotools"), ("sklearn", "scikit-learn")]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=f"{module}.*; pip install {package}"):
        run_tool("--out", tmp_path / "digits", *FEW)
    assert not list(tmp_path.iterdir())


def test_mmpretrain_reads_the_classes(digits: Path, split: str):
    datasets = pytest.importorskip("mmpretrain.datasets")
    dataset = datasets.CustomDataset(str(digits / "classification"), data_prefix=split)
    assert dataset.metainfo["classes"] == DETECTION_METAINFO["classes"]
    assert len(dataset) == {"train": 1397, "val": 400}[split]
    sample = dataset[0]
    assert Path(sample["img_path"]).parent.name == str(sample["gt_label"])


def test_mmdet_reads_the_scenes_and_scores_the_truth_perfectly(
    digits: Path, coco: COCO, split: str
):
    mmdet_datasets = pytest.importorskip("mmdet.datasets")
    evaluation = pytest.importorskip("mmdet.evaluation")
    import torch

    ann_file = str(digits / f"detection/annotations/instances_{split}2017.json")
    dataset = mmdet_datasets.CocoDataset(
        ann_file=ann_file,
        data_prefix={"img": str(digits / f"detection/{split}2017")},
        metainfo=DETECTION_METAINFO,
        pipeline=[
            {"type": "mmdet.LoadImageFromFile"},
            {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": True},
            {"type": "mmdet.PackDetInputs"},
        ],
    )
    assert len(dataset) == len(coco.imgs)
    metric = evaluation.CocoMetric(ann_file=ann_file, metric=["bbox", "segm"])
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        truth = dataset[index]["data_samples"]
        instances = truth.gt_instances
        prediction = {
            "bboxes": instances.bboxes.tensor,
            "scores": torch.ones(len(instances)),
            "labels": instances.labels,
            "masks": torch.from_numpy(instances.masks.masks).bool(),
        }
        metric.process({}, [{"pred_instances": prediction, **truth.metainfo}])
    scores = metric.evaluate(len(dataset))
    assert scores["coco/bbox_mAP"] == scores["coco/segm_mAP"] == 1.0


def test_mmseg_reads_images_and_labels(digits: Path, split: str):
    mmseg_datasets = pytest.importorskip("mmseg.datasets")
    folder = digits / "segmentation"
    dataset = mmseg_datasets.BaseSegDataset(
        data_root=str(folder),
        data_prefix={
            "img_path": f"images/{SEGMENTATION_SPLITS[split]}",
            "seg_map_path": f"annotations/{SEGMENTATION_SPLITS[split]}",
        },
        img_suffix=".png",
        metainfo=SEGMENTATION_METAINFO,
        pipeline=[
            {"type": "mmseg.LoadImageFromFile"},
            {"type": "mmseg.LoadAnnotations", "reduce_zero_label": False},
            {"type": "mmseg.PackSegInputs"},
        ],
    )
    assert len(dataset) == {"train": 12, "val": 6}[split]
    for sample in dataset:
        labels = sample["data_samples"].gt_sem_seg.data
        assert sample["inputs"].shape == (3, 128, 128) and labels.shape == (1, 128, 128)
        assert labels.min() == 0 and 1 <= labels.max() <= 10


@pytest.mark.parametrize("overlap", [False, True])
def test_panoptic_segments_cover_the_scenes_and_agree_with_the_instances(tmp_path, overlap):
    options = {"tasks": ["detection"], "num_train": 3, "num_val": 2, "overlap": overlap}
    prepare_digits(tmp_path / "d", size=160, **options)
    folder = tmp_path / "d" / "detection" / "annotations"
    assert not (tmp_path / "d" / "segmentation").exists()
    for split, count in (("train", 3), ("val", 2)):
        panoptic = json.loads((folder / f"panoptic_{split}2017.json").read_text())
        instances = json.loads((folder / f"instances_{split}2017.json").read_text())
        assert panoptic["images"] == instances["images"]
        assert [c["isthing"] for c in panoptic["categories"]] == 10 * [1] + [0]
        assert len(panoptic["annotations"]) == count
        for entry in panoptic["annotations"]:
            color = np.asarray(Image.open(folder / f"panoptic_{split}2017" / entry["file_name"]))
            assert color.shape == (160, 160, 3) and not color[..., 1:].any()
            ids = color[..., 0]
            background, *digits = entry["segments_info"]
            assert background["category_id"] == digits_export.BACKGROUND
            assert background["area"] == (ids == background["id"]).sum()
            assert set(np.unique(ids)) == {segment["id"] for segment in entry["segments_info"]}
            known = [a for a in instances["annotations"] if a["image_id"] == entry["image_id"]]
            for segment, instance in zip(digits, known, strict=True):
                assert segment["area"] == instance["area"] == (ids == segment["id"]).sum()
                assert segment["category_id"] == instance["category_id"]
                assert segment["bbox"] == instance["bbox"]
