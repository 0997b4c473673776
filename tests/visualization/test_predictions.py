from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmscalablevit.cli.building import load_model
from mmscalablevit.visualization import predictions
from tests.tiny_data import write_class_folders

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFIER = CONFIGS / "classification/digits/scalablevit-tiny_1xb64_digits.py"
SEGMENTOR = CONFIGS / "segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"


def test_samples_are_drawn_once_each_and_by_the_seed():
    chosen = predictions.choose_samples(50, 20, seed=1)
    assert len(set(chosen)) == 20
    assert chosen == sorted(chosen) == predictions.choose_samples(50, 20, seed=1)
    assert chosen != predictions.choose_samples(50, 20, seed=2)
    assert predictions.choose_samples(3, 20, seed=0) == [0, 1, 2]


def classified(folder, colours, true):
    for number, colour in enumerate(colours):
        path = str(folder / f"{number}.png")
        cv2.imwrite(path, np.full((8, 8, 3), colour[::-1], np.uint8))
        sample = DataSample(metainfo={"img_path": path})
        yield sample.set_pred_label(1).set_pred_score(torch.tensor([0.1, 0.9])).set_gt_label(true)


@pytest.mark.parametrize("count", [3, 17])
def test_the_grid_shows_every_image_and_counts_what_is_right(tmp_path, count):
    colours = [(250 - 10 * number, 0, 10 * number) for number in range(count)]
    samples = list(classified(tmp_path, colours, true=1))
    samples[0].set_gt_label(0)
    file = tmp_path / "new" / "grid.png"
    heading = predictions.save_grid(samples, {"classes": ["cat", "dog"]}, "Labels", file)
    assert heading == f"Labels: {count - 1} right"
    picture = cv2.imread(str(file))[..., ::-1]
    for colour in colours:
        assert (picture == colour).all(-1).sum() > 1000
    red = (picture == (220, 20, 60)).all(-1).nonzero()[0]  # the title of the wrong one
    assert len(red) > 10 and np.ptp(red) < 30


def label_maps(path, size=8):
    cv2.imwrite(str(path), np.full((size, size, 3), 200, np.uint8))
    sample = SegDataSample(metainfo={"img_path": str(path)})
    truth = torch.zeros(1, size, size, dtype=torch.long)
    truth[:, 0, :3] = torch.tensor([0, 2, 255])
    sample.gt_sem_seg, sample.pred_sem_seg = PixelData(data=truth), PixelData(data=truth.clone())
    sample.pred_sem_seg.data[:, 0, 0] = 3
    return sample


def test_the_legend_names_all_classes_if_they_are_few_below_the_pictures(tmp_path):
    sample = label_maps(tmp_path / "x.png")
    for count, expected in ((4, [1, 2, 3]), (21, [2, 3])):
        meta = {"classes": ["background", *map(str, range(1, count))]}
        assert predictions.colour_legend([sample], meta) == expected
    meta = {"classes": ["background", "a", "b", "c"], "palette": [(0, 0, 0)] + 3 * [(250, 0, 0)]}
    predictions.save_grid([sample], meta, "Maps", tmp_path / "grid.png")
    picture = cv2.imread(str(tmp_path / "grid.png"))[..., ::-1]
    lowest = ((picture == (200, 200, 200)).all(-1).sum(axis=1) > 50).nonzero()[0].max()
    rows = (picture == (250, 0, 0)).all(-1).nonzero()[0]
    assert len(rows) > 150 and rows.min() > lowest


@pytest.mark.parametrize(
    ("dataset", "known", "names"),
    [
        ({}, {"classes": ("ant", "bee", "cow")}, {"ant", "bee", "cow"}),  # what it was trained on
        ({}, {}, {"0", "1", "2"}),
        ({"metainfo": {"classes": ("x", "y", "z")}}, {"classes": ("a", "b", "c")}, {"x", "y", "z"}),
    ],
)
def test_classes_that_come_from_folders_have_names(tmp_path, monkeypatch, dataset, known, names):
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "pets", ["ant", "bee", "cow"], {"val": 3})
    cfg = Config.fromfile(CLASSIFIER)
    cfg.model.head.num_classes, cfg.model.head.topk = 3, 1
    folders = {"type": "CustomDataset", "data_root": "pets", "data_prefix": "val"}
    folders["pipeline"] = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset = {**folders, **dataset}
    model, _ = load_model(cfg, None)
    meta = {"dataset_meta": known}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, "model.pth")
    seen = []
    monkeypatch.setattr(predictions, "save_grid", lambda *args: seen.append(args[:2]))
    # Without labels there are no folders of classes to name, either.
    cfg.test_dataloader.dataset.with_label = False
    predictions.draw_test_images(cfg, "model.pth", Path("out.png"), count=2, seed=0)
    [(samples, meta)] = seen
    assert len(samples) == 2 and "gt_label" not in samples[0]
    assert tuple(meta.get("classes") or "012") == tuple(sorted(names))
