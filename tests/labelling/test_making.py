"""Label maps: what is written, for which image, and what is left alone."""

import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmscalablevit.cli.building import build_model
from mmscalablevit.datasets.token_labels import read_label_map
from mmscalablevit.errors import UsageError
from mmscalablevit.labelling import making
from mmscalablevit.labelling.making import Maker, Settings, list_images, to_label_maps
from mmscalablevit.labelling.teachers import (
    deviation,
    load_teacher,
    score_positions,
    size_at_test,
)
from tests.golden import DATA
from tests.tiny_data import write_class_folders

CONFIGS = Path(__file__).parents[2] / "configs" / "classification" / "digits"
FOLDERS = [f"n{number}" for number in range(10)]
SETTINGS = Settings(size=64, topk=3, batch_size=4, workers=0)


@pytest.fixture(autouse=True)
def _in_mmpretrain():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.fixture(scope="module")
def teacher():
    """An untrained LVT whose logits are spread as a trained one's."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = build_model(Config.fromfile(CONFIGS / "lvt-tiny_1xb64_digits.py")).eval()
    torch.nn.init.normal_(model.head.fc.weight, std=0.5)
    torch.nn.init.normal_(model.head.fc.bias, mean=2)
    return model


@pytest.fixture
def images(tmp_path):
    """Ten images of ten classes."""
    write_class_folders(tmp_path, FOLDERS, {"train": 10})
    return tmp_path / "train"


def expected_map(model, path, size, topk):
    """The label map of an image, position by position."""
    how = {"interpolation": "bicubic", "backend": "pillow"}
    image = mmcv.imresize(mmcv.imread(str(path)), (size, size), **how)
    inputs = torch.from_numpy(image.transpose(2, 0, 1))
    maps = np.zeros((2, topk, size // 32, size // 32), np.float32)
    with torch.no_grad():
        x = model.backbone(model.data_preprocessor({"inputs": [inputs]})["inputs"])[-1]
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                logits = model.head.fc(x[0, :, row, column]).numpy()
                order = np.argsort(-logits)[:topk]
                maps[:, :, row, column] = logits[order], order
    return maps


def test_the_largest_logits_as_the_released_generator_writes_them():
    logits = 3 * np.random.RandomState(51).standard_normal((1, 18, 18, 1000)).astype(np.float32)
    file = DATA / "golden/lvt_token_labels/label_maps/n01440764/n01440764_10026.pt"
    released = torch.load(file, weights_only=True)
    made = to_label_maps(torch.from_numpy(logits), 5)[0]
    assert made.dtype == released.dtype
    assert torch.equal(made, released)


@pytest.mark.parametrize(
    "model",
    [
        {
            "backbone": {"type": "ResNet", "depth": 18},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 10, "in_channels": 512},
        },
        {
            "backbone": {"type": "MobileNetV2"},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "StackedLinearClsHead", "num_classes": 9, "in_channels": 1280}
            | {"mid_channels": [32], "act_cfg": None},
        },
    ],
)
def test_the_mean_over_the_positions_is_the_classifier(model):
    model = MODELS.build({"type": "ImageClassifier", **model}).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        positions, logits = score_positions(model, x)
        assert torch.equal(logits, model(x))
    assert positions.shape[:3] == (2, 3, 3)
    assert deviation(positions, logits) < 1e-5


def test_a_class_attention_teacher_has_scores_of_positions():
    backbone = {"type": "LVT", "arch": Config.fromfile(CONFIGS / "lvt-tiny_1xb64_digits.py").arch}
    head = {"type": "ClassAttentionHead", "num_classes": 7, "in_channels": 128}
    model = MODELS.build({"type": "ImageClassifier", "backbone": backbone, "head": head}).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        positions, logits = score_positions(model, x)
        assert torch.equal(positions.flatten(1, 2), model.head.logits(model.backbone(x))[1])
        assert torch.equal(logits, model(x))


def test_every_image_gets_its_own_map(teacher, images, tmp_path):
    maker = Maker(teacher, images, tmp_path / "maps", SETTINGS)
    assert list(maker.run()) == [4, 4, 2]
    names = list_images(images)
    assert len(names) == 10
    hits = []
    for label, name in enumerate(names):
        found = read_label_map(str((tmp_path / "maps" / name).with_suffix(".pt"))).numpy()
        expected = expected_map(teacher, images / name, 64, 3)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-3)
        with torch.no_grad():
            square = making.Squares([images / name], 64, False)[0]["inputs"]
            x = teacher.data_preprocessor({"inputs": [square]})["inputs"]
            hits.append(int(teacher(x).argmax()) == label)
    assert maker.tally.labelled == 10
    assert maker.tally.hits[0] == sum(hits)
    assert not maker.notes


def test_the_whole_image_or_its_central_square(tmp_path):
    image = np.zeros((100, 160, 3), np.uint8)
    image[:, 30:130] = 255
    mmcv.imwrite(image, str(tmp_path / "image.png"))
    paths = [tmp_path / "image.png"]
    square = making.Squares(paths, 64, center_crop=True)[0]["inputs"]
    assert square.shape == (3, 64, 64)
    assert (square[:, :, 1:-1] == 255).all()
    whole = making.Squares(paths, 64, center_crop=False)[0]["inputs"]
    assert whole.shape == (3, 64, 64)
    assert (whole[:, :, :10] == 0).all()
    assert (whole[:, :, 14:50] == 255).all()


def test_goes_on_where_it_was_stopped(teacher, images, tmp_path):
    first = Maker(teacher, images, tmp_path / "maps", SETTINGS)
    next(first.run())  # and no further
    written = sorted((tmp_path / "maps").rglob("*"))
    assert len([path for path in written if path.is_file()]) == 4
    names = list_images(images)
    kept, halved = ((tmp_path / "maps" / name).with_suffix(".pt") for name in names[:2])
    stamp = kept.stat().st_mtime_ns
    halved.write_bytes(halved.read_bytes()[:500])
    second = Maker(teacher, images, tmp_path / "maps", SETTINGS)
    assert (second.existing, len(second.pending)) == (3, 7)
    list(second.run())
    assert kept.stat().st_mtime_ns == stamp
    assert read_label_map(str(halved)).shape == (2, 3, 2, 2)
    third = Maker(teacher, images, tmp_path / "maps", SETTINGS)
    assert not third.pending
    anew = Maker(teacher, images, tmp_path / "maps", Settings(64, overwrite=True))
    assert len(anew.pending) == 10


def test_the_size_of_the_teacher_is_that_of_its_test():
    def size(*steps):
        dataset = {"pipeline": [dict(step) for step in steps]}
        return size_at_test(Config({"test_dataloader": {"dataset": dataset}}))

    resize, crop = {"type": "ResizeEdge", "scale": 256}, {"type": "CenterCrop", "crop_size": 224}
    assert size({"type": "LoadImageFromFile"}, resize, crop, {"type": "PackInputs"}) == 224
    assert size({"type": "Resize", "scale": (96, 96)}) == 96
    assert size({"type": "Resize", "scale": (96, 64)}) is None
    assert size({"type": "PackInputs"}) is size_at_test(Config()) is None


def test_classes_are_known_where_each_has_a_folder(images):
    names = list_images(images)
    assert making.known_labels(names, 10) == list(range(10))
    assert making.known_labels(names, 1000) == [None] * 10


def test_negative_logits_are_warned_of():
    tally = making.Tally()
    maps = torch.tensor([3.0, -1.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 1, 1)
    tally.add(maps, torch.zeros(1, 1, 1, 4), [None])
    lines = list(tally.describe())
    assert lines[0] == "mean of the largest logits: 3.000"
    assert lines[1] == "stored logits below 0: 50.00%"
    assert lines[2].startswith("warning")


class TestRefusals:
    @pytest.mark.parametrize(
        "backbone",
        [
            {"type": "ConvNeXt", "arch": "atto"},
            {"type": "VisionTransformer", "arch": "deit-tiny", "img_size": 64},
        ],
    )
    def test_a_backbone_that_pools(self, backbone):
        head = {"type": "LinearClsHead", "num_classes": 10, "in_channels": 8}
        model = {"type": "ImageClassifier", "backbone": backbone, "head": head}
        with pytest.raises(UsageError, match=r"out_type=featmap.*gap_before_final_norm=False"):
            score_positions(MODELS.build(model).eval(), torch.randn(1, 3, 64, 64))

    def test_a_map_of_one_position(self, teacher):
        with pytest.raises(UsageError, match=r"1 positions.*--img-size"):
            score_positions(teacher, torch.randn(1, 3, 32, 32))

    def test_fewer_classes_than_topk(self, teacher, images, tmp_path):
        with pytest.raises(UsageError, match="--topk 11: the teacher has 10 classes"):
            Maker(teacher, images, tmp_path, Settings(64, topk=11, workers=0))

    def test_more_classes_than_float16_counts(self, images, tmp_path):
        model = {
            "backbone": {"type": "ResNet", "depth": 18},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 2049, "in_channels": 512},
        }
        model = MODELS.build({"type": "ImageClassifier", **model}).eval()
        with pytest.raises(UsageError, match=r"2049 classes.*2048"):
            Maker(model, images, tmp_path, SETTINGS)

    def test_a_linear_head_behind_something_else(self, images, tmp_path):
        model = {
            "backbone": {"type": "ResNet", "depth": 18},
            "neck": {"type": "GlobalAveragePooling"},
            "head": {"type": "LinearClsHead", "num_classes": 10, "in_channels": 512},
        }
        model = MODELS.build({"type": "ImageClassifier", **model}).eval()
        model.neck.register_forward_hook(lambda *args: (args[2][0].square(),))
        with pytest.raises(UsageError, match="though its head is linear"):
            Maker(model, images, tmp_path, SETTINGS)

    def test_a_folder_without_images(self, tmp_path):
        with pytest.raises(UsageError, match="has no images"):
            list_images(tmp_path)
        with pytest.raises(UsageError, match="no folder"):
            list_images(tmp_path / "missing")

    def test_two_images_of_one_map(self, images):
        name = images / list_images(images)[0]
        name.with_suffix(".png").write_bytes(name.read_bytes())
        with pytest.raises(UsageError, match=r"n0_0\.JPEG and .*n0_0\.png would have one"):
            list_images(images)

    def test_timm_that_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "timm", None)
        monkeypatch.setitem(sys.modules, "timm.models", None)
        with pytest.raises(UsageError, match="pip install timm"):
            load_teacher("timm/resnet18", "pretrained")
