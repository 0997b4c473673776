"""A directory in which the repository's configs find all that their files name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmscalablevit.checkpoints import use_safe_loading
from mmscalablevit.datasets import prepare_digits
from tests import tiny_data
from tests.leaves import load


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tiny data sets, at the places where the configs look for the real ones."""
    pytest.importorskip("mmpretrain")
    pytest.importorskip("mmseg")
    coco = pytest.importorskip("mmdet.datasets").CocoDataset.METAINFO["classes"]
    home = tmp_path_factory.mktemp("home")
    imagenet = home / "data/imagenet"
    tiny_data.write_imagenet(imagenet)
    tiny_data.write_label_maps(imagenet / "train", imagenet / "label_top5_train_nfnet")
    tiny_data.write_coco(home / "data/coco", coco)
    panoptic = pytest.importorskip("mmdet.datasets").CocoPanopticDataset.METAINFO
    stuff = panoptic["stuff_classes"]
    tiny_data.write_coco_panoptic(home / "data/coco", panoptic["thing_classes"], stuff)
    tiny_data.write_ade20k(home / "data/ade/ADEChallengeData2016")
    classes = load("scalablevit-tiny_1xb128_cifar10-96px").train_dataloader.dataset.metainfo.classes
    tiny_data.write_class_folders(home / "data/cifar10", classes, {"train": 4, "test": 2})
    tiny_data.write_label_maps(home / "data/cifar10/train", home / "data/cifar10/labels")
    cells = load("retinanet_scalablevit-tiny_fpn_1xb4_bccd").metainfo.classes
    tiny_data.write_bccd(home / "data/bccd", cells)
    tiny_data.write_camvid(home / "data/camvid", num_classes=11)
    prepare_digits(home / "data/digits", num_train=4, num_val=2)
    digits = home / "data/digits/classification"
    tiny_data.write_label_maps(digits / "train", digits / "labels")
    dense = ("detection", "segmentation")
    prepare_digits(home / "data/digits-overlap", tasks=dense, num_train=4, num_val=2, overlap=True)
    yield home
    shutil.rmtree(home)  # the pretrained weights in it are large


@pytest.fixture
def at_home(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the data sets, made the current one.

    Checkpoints are read as the tools read them.
    """
    monkeypatch.chdir(tiny_home)
    use_safe_loading()
    return tiny_home
