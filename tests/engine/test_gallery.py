import cv2
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmscalablevit.engine import gallery


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
