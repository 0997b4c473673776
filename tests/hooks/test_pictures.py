import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from mmseg.structures import SegDataSample

from mmscalablevit.hooks import pictures

META = {
    "classes": ("background", "cat", "dog"),
    "palette": [(9, 9, 9), (250, 0, 0), (0, 0, 250)],
}
GREEN = (40, 200, 40)


def tinted(colour):
    mixed = (1 - pictures.OPACITY) * np.array(GREEN) + pictures.OPACITY * np.array(colour)
    return pytest.approx(mixed.tolist(), abs=1)


@pytest.fixture
def visualizer():
    visualizer = Visualizer()
    visualizer.dataset_meta = META
    return visualizer


@pytest.fixture
def image_path(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.full((60, 80, 3), GREEN[::-1], np.uint8))
    return str(tmp_path / "x.png")


@pytest.mark.parametrize(("shape", "factor"), [((128, 128), 3), ((512, 383), 2), ((400, 900), 1)])
def test_small_images_are_enlarged_by_whole_numbers(shape, factor):
    assert pictures.enlargement(np.zeros((*shape, 3), np.uint8), 384) == factor


def test_only_classes_are_painted_and_background_is_not():
    labels = np.array([[0, 1, 255], [2, 3, 1]])
    picture = pictures.paint_labels(np.full((2, 3, 3), GREEN, np.uint8), labels, META)
    assert pictures.painted_labels(labels, META["classes"]) == [1, 2]
    for place in ((0, 0), (0, 2), (1, 1)):  # background, ignored, no class of the data set
        assert tuple(picture[place]) == GREEN
    assert picture[0, 1].tolist() == tinted((250, 0, 0))
    assert picture[1, 2].tolist() == tinted((250, 0, 0))
    assert picture[1, 0].tolist() == tinted((0, 0, 250))


def test_label_maps_are_enlarged_exactly_and_named_if_asked(visualizer, image_path):
    truth = torch.zeros(1, 60, 80, dtype=torch.long)
    truth[:, 11:40, 21:70] = 1
    sample = SegDataSample(metainfo={"img_path": image_path})
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=2 * truth)
    plain = pictures.truth_and_prediction(visualizer, sample, min_size=180, names=False)
    inside = np.zeros((180, 240), bool)
    inside[33:120, 63:210] = True
    for picture, colour in zip(plain, ((250, 0, 0), (0, 0, 250)), strict=True):
        assert picture.shape == (180, 240, 3)
        assert (picture[~inside] == GREEN).all()
        assert len(np.unique(picture[inside], axis=0)) == 1
        assert picture[60, 100].tolist() == tinted(colour)
    named = pictures.truth_and_prediction(visualizer, sample, min_size=180)
    written = (named[0] != plain[0]).any(axis=2)
    beyond = np.ones((180, 240), bool)
    beyond[32:121, 62:211] = False  # matplotlib 3.10 moves an edge by a pixel
    assert written[34:119, 64:209].any() and not written[beyond].any()


def test_without_truth_the_left_half_is_the_image(visualizer, image_path):
    sample = SegDataSample(metainfo={"img_path": image_path})
    sample.pred_sem_seg = PixelData(data=torch.ones(1, 60, 80, dtype=torch.long))
    left, right = pictures.truth_and_prediction(visualizer, sample, min_size=60, names=False)
    assert (left == GREEN).all() and (right != GREEN).any(axis=2).all()


def test_panoptic_maps_are_painted_once_and_by_class(visualizer, image_path):
    mask = np.zeros((1, 60, 80), np.uint8)
    mask[:, 22:50, 12:40] = 1
    sample = DetDataSample(metainfo={"img_path": image_path})
    sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(mask).long())
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[12.0, 22, 40, 50]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(mask, 60, 80),
    )
    segments = torch.from_numpy(mask).long() * (2 + 7 * 1000)  # label 2, segment 7
    sample.pred_panoptic_seg = PixelData(sem_seg=segments)
    for picture, colour in zip(
        pictures.truth_and_prediction(visualizer, sample, min_size=60, names=False),
        ((250, 0, 0), (0, 0, 250)),
        strict=True,
    ):
        assert (picture[mask[0] == 0] == GREEN).all()
        assert len(np.unique(picture[mask[0] == 1], axis=0)) == 1
        assert picture[30, 30].tolist() == tinted(colour)


@pytest.fixture
def detections(image_path):
    """A true cat; a dog and, less sure, a cat predicted in the same place, and a poor one."""
    mask = np.zeros((1, 60, 80), np.uint8)
    mask[:, 22:50, 12:40] = 1
    sample = DetDataSample(metainfo={"img_path": image_path})
    box = torch.tensor([[10.0, 20, 42, 52]])
    sample.gt_instances = InstanceData(
        bboxes=box, labels=torch.tensor([1]), masks=BitmapMasks(mask, 60, 80)
    )
    masks = torch.from_numpy(mask).bool()
    sample.pred_instances = InstanceData(
        bboxes=torch.cat([box, box, torch.tensor([[50.0, 20, 75, 52]])]),
        labels=torch.tensor([2, 1, 1]),
        scores=torch.tensor([0.9, 0.6, 0.2]),
        masks=torch.cat([masks, masks, torch.zeros_like(masks)]),
    )
    return sample


def test_boxes_and_masks_are_enlarged_with_the_image(visualizer, detections):
    truth, prediction = pictures.truth_and_prediction(
        visualizer, detections, score_thr=0.5, min_size=180
    )
    assert truth.shape == prediction.shape == (180, 240, 3)
    assert (truth[70:146, 40:116] == truth[100, 100]).all()
    assert truth[100, 100].tolist() == tinted((250, 0, 0))
    blue = prediction[100, 100].astype(int)
    assert blue[2] > blue[0] > 0  # the surest on top
    for picture in (truth, prediction):
        assert (picture[100, 28:33] != GREEN).any()  # the left edge of the box
        assert (picture[160:] == GREEN).all()
        assert (picture[:, 145:] == GREEN).all()  # no box below the threshold
    assert (truth[45:58, 28:60] != GREEN).any()  # the name is above the box


def test_nothing_found_leaves_the_image(visualizer, detections):
    detections.pred_instances.scores[:] = 0.1
    _, prediction = pictures.truth_and_prediction(visualizer, detections, min_size=60)
    assert (prediction == GREEN).all()
