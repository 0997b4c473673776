"""A directory in which the repository's configs find all that their files name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmscalablevit.datasets import prepare_digits
from tests import tiny_data


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tiny data sets, at the places where the configs look for the real ones."""
    pytest.importorskip("mmpretrain")
    pytest.importorskip("mmseg")
    coco = pytest.importorskip("mmdet.datasets").CocoDataset.METAINFO["classes"]
    home = tmp_path_factory.mktemp("home")
    tiny_data.write_imagenet(home / "data/imagenet")
    tiny_data.write_coco(home / "data/coco", coco)
    panoptic = pytest.importorskip("mmdet.datasets").CocoPanopticDataset.METAINFO
    stuff = panoptic["stuff_classes"]
    tiny_data.write_coco_panoptic(home / "data/coco", panoptic["thing_classes"], stuff)
    tiny_data.write_ade20k(home / "data/ade/ADEChallengeData2016")
    prepare_digits(home / "data/digits", num_train=4, num_val=2)
    dense = ("detection", "segmentation")
    prepare_digits(home / "data/digits-overlap", tasks=dense, num_train=4, num_val=2, overlap=True)
    yield home
    shutil.rmtree(home)  # the pretrained weights in it are large


@pytest.fixture
def at_home(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the data sets, made the current one.

    Checkpoints are read as with a torch that forbids code in them.
    """
    monkeypatch.chdir(tiny_home)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    return tiny_home
