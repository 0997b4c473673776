from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.dist import utils as dist_utils
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmscalablevit.hooks import SavePicturesHook, pictures

META = {
    "classes": ("background", "cat", "dog"),
    "palette": [(9, 9, 9), (250, 0, 0), (0, 0, 250)],
}
GREEN = (40, 200, 40)
CAT, DOG = (  # over the green image
    (1 - pictures.OPACITY) * np.array(GREEN) + pictures.OPACITY * np.array(colour)
    for colour in META["palette"][1:]
)


@pytest.fixture
def image_path(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.full((60, 80, 3), GREEN[::-1], np.uint8))
    return str(tmp_path / "x.png")


@pytest.fixture
def halves(tmp_path):
    """Save a picture of a sample: its left and right half, (H, W, 3) in RGB."""

    def save(sample, **options):
        pictures.save_picture(sample, META, tmp_path / "new/out.png", **options)
        picture = cv2.imread(str(tmp_path / "new/out.png"))[..., ::-1].astype(int)
        return np.split(picture, 2, axis=1)

    return save


def close(picture, colour):
    return (np.abs(picture - colour) <= 1.5).all(axis=-1)


@pytest.mark.parametrize("shape", [(60, 80), (97, 61), (383, 512)])
def test_small_images_are_enlarged_by_whole_numbers(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((*shape, 3), np.uint8))
    sample = SegDataSample(metainfo={"img_path": str(tmp_path / "x.png")})
    pictures.save_picture(sample, META, tmp_path / "out.png")
    factor = -(-384 // min(shape))
    saved = cv2.imread(str(tmp_path / "out.png"))
    assert saved.shape == (factor * shape[0], 2 * factor * shape[1], 3)
    assert not saved.any()  # no border


def test_only_classes_are_painted_and_background_is_not():
    labels = np.array([[0, 1, 255], [2, 3, 1]])  # background, ignored, no class of the data set
    assert pictures.painted_labels(labels, META) == [1, 2]
    assert pictures.painted_labels(labels, {}) == [0, 1, 2, 3]  # nothing is known of the classes


def test_label_maps_are_enlarged_exactly_and_named(halves, image_path):
    truth = torch.zeros(1, 60, 80, dtype=torch.long)
    truth[:, 11:40, 21:70] = 1
    sample = SegDataSample(metainfo={"img_path": image_path})
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=2 * truth)
    inside = np.zeros((180, 240), bool)
    inside[33:120, 63:210] = True
    for half, colour in zip(halves(sample, min_size=180), (CAT, DOG), strict=True):
        assert (half[~inside] == GREEN).all()
        written = ~close(half, colour) & inside
        assert 50 < written.sum() < 0.1 * inside.sum()
        rows, columns = written.nonzero()
        assert np.ptp(rows) < 25 and np.ptp(columns) < 60  # the name, once
    axes = Figure().subplots()
    pictures.draw_sample(axes, np.zeros((60, 80, 3)), sample, "gt", META, names=False)
    assert not axes.texts


def test_without_truth_the_left_half_is_the_image(halves, image_path):
    sample = SegDataSample(metainfo={"img_path": image_path})
    sample.pred_sem_seg = PixelData(data=torch.ones(1, 60, 80, dtype=torch.long))
    left, right = halves(sample, min_size=60)
    assert (left == GREEN).all() and (right != GREEN).any(axis=2).all()


def test_panoptic_maps_are_painted_once_and_by_class(halves, image_path):
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
    for half, colour in zip(halves(sample, min_size=240), (CAT, DOG), strict=True):
        inside = mask[0].repeat(4, 0).repeat(4, 1) == 1
        assert (half[~inside] == GREEN).all()
        assert close(half[inside], colour).mean() > 0.9  # all but the name: no box


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


def test_boxes_and_masks_are_enlarged_with_the_image(halves, detections):
    truth, prediction = halves(detections, score_thr=0.5, min_size=180)
    assert close(truth[70:146, 40:116], CAT).all()
    assert close(prediction[70:146, 40:116], DOG).all()  # the surest on top
    for half in (truth, prediction):
        assert (half[100, 28:33] != GREEN).any()  # the left edge of the box
        assert (half[160:] == GREEN).all()
        assert (half[:, 145:] == GREEN).all()  # no box below the threshold
    assert (truth[45:58, 28:60] != GREEN).any()  # the name is above the box


def test_nothing_found_leaves_the_image(halves, detections):
    detections.pred_instances.scores[:] = 0.1
    detections.gt_instances = InstanceData()
    for half in halves(detections):
        assert (half == GREEN).all()


def labelled(predicted, true=None, path="x.png"):
    sample = DataSample(metainfo={"img_path": path})
    sample.set_pred_label(predicted).set_pred_score(torch.tensor([0.0, 0.25, 0.75]))
    return sample if true is None else sample.set_gt_label(true)


@pytest.mark.parametrize(
    ("sample", "text", "right"),
    [
        (labelled(2, 2), "dog (75%)", True),
        (labelled(1, 2), "cat (25%), is dog", False),
        (labelled(1), "cat (25%)", True),
        (labelled([2, 1], [1, 2]), "dog (75%), cat (25%)", True),
        (labelled([2], [1, 2]), "dog (75%), is cat, dog", False),
        (labelled([], [1]), "none, is cat", False),
    ],
)
def test_labels_are_said_with_their_score_and_the_truth(sample, text, right):
    assert pictures.describe_labels(sample, META) == (text, right)


def test_classes_without_names_or_colours_have_numbers_and_colours():
    assert pictures.describe_labels(labelled(2), {})[0] == "2 (75%)"
    assert pictures.class_name({"classes": ["tench, Tinca tinca"]}, 0) == "tench"
    colours = {tuple(pictures.colour({"palette": None}, label)) for label in range(20)}
    assert len(colours) == 20


def test_every_process_saves_the_images_of_its_batches(tmp_path, image_path, monkeypatch):
    monkeypatch.setattr(dist_utils, "is_main_process", lambda *_: False)
    dataset = SimpleNamespace(metainfo=META)
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    hook = SavePicturesHook(str(tmp_path / "out"))
    hook.after_test_iter(runner, 0, outputs=[labelled(2, 1, image_path)])
    saved = cv2.imread(str(tmp_path / "out" / tmp_path.name / "x.png"))
    assert saved.shape == (60 * 7, 80 * 7, 3)
    assert (saved[:30, :200] != GREEN[::-1]).any() and (saved[60:] == GREEN[::-1]).all()
