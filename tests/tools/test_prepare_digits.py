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

from mmscalablevit.datasets import DETECTION_METAINFO, digits_export, prepare_digits
from tests.in_process import TOOLS

FEW = ["--train-scenes", "12", "--val-scenes", "6"]
SPLITS = {"train": ("training", 12), "val": ("validation", 6)}


def run_tool(*args: str | Path) -> None:
    """Run the tool within this process; refusals raise SystemExit."""
    runpy.run_path(str(TOOLS / "prepare_digits.py"))["main"]([str(arg) for arg in args])


def files_below(root: Path) -> dict[str, bytes]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "some" / "digits"
    run_tool("--out", out, *FEW)
    assert [path.name for path in out.parent.iterdir()] == ["digits"]
    return out


def read_coco(digits: Path, split: str) -> COCO:
    return COCO(str(digits / f"detection/annotations/instances_{split}2017.json"))


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


def test_coco_boxes_areas_and_masks_agree(digits: Path):
    truth = load_digits().target
    for split in SPLITS:
        coco = read_coco(digits, split)
        assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list("0123456789")
        assert len(coco.anns) > 2 * len(coco.imgs)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            ys, xs = mask.nonzero()
            box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            assert annotation["bbox"] == box and annotation["iscrowd"] == 0
            assert annotation["area"] == mask.sum() > 100
            assert truth[annotation["scan"]] == annotation["category_id"] - 1


def test_scenes_show_scans_and_photo_columns_of_their_split_only(digits: Path):
    scans, columns = {}, {}
    for split in SPLITS:
        coco = read_coco(digits, split)
        scans[split] = {entry["scan"] for entry in coco.anns.values()}
        crops = [entry["crop"] for entry in coco.imgs.values()]
        columns[split] = {x for left, _, width, _ in crops for x in range(left, left + width)}
        names = (digits / "classification" / split).glob("*/*.png")
        assert scans[split] <= {int(path.stem.removeprefix("scan_")) for path in names}
    assert not scans["train"] & scans["val"]
    assert not columns["train"] & columns["val"]


def test_detection_and_segmentation_show_the_same_scenes(digits: Path):
    for split, (folder, count) in SPLITS.items():
        coco = read_coco(digits, split)
        images, pictures = (
            digits / f"detection/{split}2017",
            digits / f"segmentation/images/{folder}",
        )
        names = [image["file_name"] for image in coco.imgs.values()]
        assert len(names) == count
        for place in (images, pictures):
            assert sorted(path.name for path in place.iterdir()) == names
        for image_id, image in coco.imgs.items():
            name = image["file_name"]
            assert os.path.samefile(images / name, pictures / name)  # on the disk once
            picture = Image.open(images / name)
            assert (picture.mode, *picture.size) == ("RGB", image["width"], image["height"])
            labels = Image.open(digits / "segmentation/annotations" / folder / name)
            assert labels.mode == "L"
            expected = np.zeros((128, 128), int)
            for annotation in coco.imgToAnns[image_id]:
                expected += coco.annToMask(annotation) * annotation["category_id"]
            np.testing.assert_array_equal(np.asarray(labels), expected)


def test_images_are_copied_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    assert before.items() <= files_below(out).items()
    assert sorted(path.name for path in out.iterdir()) == ["detection", "segmentation"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="is a file"):
        run_tool("--out", tmp_path / "file", *FEW)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_impossible_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for option, value in (
        ("--seed", "-1"), ("--size", "10"), ("--val-scenes", "0"), ("--tasks", "panoptic"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as refusal:
            run_tool("--out", tmp_path / "digits", option, value)
        assert refusal.value.code == 2 and option in capsys.readouterr().err
    for module, package in (("pycocotools.mask", "pycocotools"), ("sklearn", "scikit-learn")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(SystemExit, match=f"{module}.*; pip install {package}"):
                run_tool("--out", tmp_path / "digits", *FEW)
    assert not list(tmp_path.iterdir())


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[Path] = []
    save = Image.Image.save

    def interrupted(image: Image.Image, path: Path, **options: int) -> None:
        if len(written) == 5:
            assert path.relative_to(tmp_path).parts[0].startswith(".incomplete-")
            raise KeyboardInterrupt
        save(image, path, **options)
        written.append(path)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_digits(tmp_path / "digits")
    assert len(written) == 5
    assert not list(tmp_path.iterdir())


def test_mmdet_reads_the_scenes_and_scores_the_truth_perfectly(digits: Path):
    mmdet_datasets = pytest.importorskip("mmdet.datasets")
    evaluation = pytest.importorskip("mmdet.evaluation")
    import torch

    for split in SPLITS:
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
