import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmscalablevit.visualization import gallery


def test_samples_are_drawn_once_each_and_by_the_seed():
    chosen = gallery.choose_samples(50, 20, seed=1)
    assert len(set(chosen)) == 20
    assert chosen == sorted(chosen) == gallery.choose_samples(50, 20, seed=1)
    assert chosen != gallery.choose_samples(50, 20, seed=2)
    assert gallery.choose_samples(3, 20, seed=0) == [0, 1, 2]


@pytest.mark.parametrize(("predicted", "title"), [(1, "dog (75%)"), (0, "cat (25%), is dog")])
def test_a_tile_says_prediction_score_and_truth(tmp_path, predicted, title):
    cv2.imwrite(str(tmp_path / "x.png"), np.full((4, 5, 3), (255, 0, 0), np.uint8))  # blue
    sample = DataSample(metainfo={"img_path": str(tmp_path / "x.png")})
    sample.set_gt_label(1).set_pred_label(predicted).set_pred_score(torch.tensor([0.25, 0.75]))
    image, text, right = gallery.class_tile(sample, ["cat", "dog"])
    assert (text, right) == (title, predicted == 1)
    assert image.shape == (4, 5, 3)
    assert (image == (0, 0, 255)).all()


def test_the_grid_shows_every_image(tmp_path):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    tiles = [(np.full((8, 8, 3), colour, np.uint8), "", True) for colour in colours]
    gallery.save_grid(tiles, "heading", tmp_path / "new" / "grid.png", columns=2)
    picture = cv2.imread(str(tmp_path / "new" / "grid.png"))[..., ::-1]
    for colour in colours:
        assert (picture == colour).all(-1).sum() > 1000


@pytest.mark.parametrize(("classes", "expected"), [(4, ["1", "2", "3"]), (21, ["2", "3"])])
def test_the_legend_names_all_classes_if_they_are_few(classes, expected):
    names = ["background", *map(str, range(1, classes))]
    meta = {"classes": names, "palette": [(label, 0, 0) for label in range(classes)]}
    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[0, 2, 255]]]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[3, 0, 2]]]))
    legend = gallery.colour_legend([sample], meta)
    assert legend == [(name, (int(name), 0, 0)) for name in expected]


def test_the_legend_is_below_the_pictures(tmp_path):
    tile = (np.full((8, 8, 3), (0, 0, 250), np.uint8), "", True)
    entries = [("a", (250, 0, 0)), ("b", (0, 250, 0))]
    gallery.save_grid([tile], "heading", tmp_path / "grid.png", columns=1, legend=entries)
    picture = cv2.imread(str(tmp_path / "grid.png"))[..., ::-1]
    lowest = (picture == (0, 0, 250)).all(-1).nonzero()[0].max()
    for _, colour in entries:
        rows = (picture == colour).all(-1).nonzero()[0]
        assert len(rows) > 50 and rows.min() > lowest
