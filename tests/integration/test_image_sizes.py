"""All four frameworks take images of any size, in any batch that their preprocessors can pad."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from tests.leaves import ROOT
from tests.tiny_data import draw_image

ARCH = {
    "embed_dims": [16, 32, 48, 64],
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 3, 4],
    "channel_ratios": [1.25, 1.25, 1.25, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
RETINANET = "detection/scalablevit/retinanet_scalablevit-s_fpn_1x_coco"
MASK_RCNN = "detection/scalablevit/mask-rcnn_scalablevit-s_fpn_1x_coco"
SEMANTIC_FPN = "segmentation/scalablevit/scalablevit-s_fpn_4xb4-80k_ade20k-512x512"
UPERNET = "segmentation/scalablevit/scalablevit-s_upernet_8xb2-160k_ade20k-512x512"
DETECTORS = [
    pytest.param(RETINANET, id="retinanet"),
    pytest.param(MASK_RCNN, id="mask-rcnn", marks=pytest.mark.slow),
]
SEGMENTORS = [
    pytest.param(SEMANTIC_FPN, id="fpn"),
    pytest.param(UPERNET, id="upernet", marks=pytest.mark.slow),
]

# (height, width): landscape, portrait and a narrow strip, with sides that no stride divides.
MIXED = [(61, 97), (131, 45), (33, 113)]


def is_detector(name: str) -> bool:
    return name.startswith("detection")


def build(name: str, **preprocessor: Any) -> nn.Module:
    """The model of a config with a narrow backbone, and other settings for its preprocessor."""
    cfg = Config.fromfile(ROOT / "configs" / f"{name}.py").model
    cfg.backbone.arch = ARCH
    cfg.backbone.init_cfg = None
    widths = [ARCH["embed_dims"][i] for i in cfg.backbone.out_indices]
    if "neck" in cfg:
        cfg.neck.in_channels = widths
    else:
        cfg.decode_head.in_channels, cfg.auxiliary_head.in_channels = widths, widths[2]
    cfg.data_preprocessor.update(preprocessor)
    if name == MASK_RCNN:
        # Proposals and masks take the time, so there are a tenth as many proposals.
        cfg.test_cfg.rpn.max_per_img, cfg.test_cfg.rcnn.max_per_img = 100, 30
    init_default_scope("mmdet" if is_detector(name) else "mmseg")
    model = revert_sync_batchnorm(MODELS.build(cfg))
    model.init_weights()
    spread_scores(model)
    return model


def spread_scores(model: nn.Module) -> None:
    """Let an untrained model's scores lie apart, and some of a detector's above its threshold.

    As initialized, all are nearly equal: which of them come first would be left to rounding.
    """
    deviations = {"retina_cls": 5.0, "rpn_cls": 0.3, "fc_cls": 0.1, "conv_seg": 0.1}
    for name, module in model.named_modules():
        if (layer := name.rpartition(".")[2]) in deviations:
            nn.init.normal_(module.weight, std=deviations[layer])
            nn.init.zeros_(module.bias)


def make_batch(name: str, shapes: list[tuple[int, int]], seed: int = 0) -> dict[str, list]:
    """Images of the given (height, width), with labels, as the loader collates them."""
    images = [draw_image(shape, seed + i) for i, shape in enumerate(shapes)]
    make = make_detection_sample if is_detector(name) else make_segmentation_sample
    return {
        "inputs": [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images],
        "data_samples": [make(*shape) for shape in shapes],
    }


def make_detection_sample(height: int, width: int) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[2, 3, width // 2, height // 2], [width // 3, 5, width - 1, height - 2]])
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    sample = DetDataSample(
        metainfo={
            "img_shape": (height, width),
            "ori_shape": (height, width),
            "scale_factor": (1.0, 1.0),
        }
    )
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(boxes.float()),
        labels=torch.tensor([3, 70]),
        masks=BitmapMasks(masks.numpy(), height, width),
    )
    return sample


def make_segmentation_sample(height: int, width: int) -> Any:
    from mmseg.structures import SegDataSample

    labels = torch.full((1, height, width), 149)
    labels[:, : height // 2] = 7
    labels[:, :, : width // 4] = 255  # ignored
    sample = SegDataSample(metainfo={"img_shape": (height, width), "ori_shape": (height, width)})
    sample.gt_sem_seg = PixelData(data=labels)
    return sample


def predict(model: nn.Module, batch: dict[str, list]) -> list[Any]:
    with torch.no_grad():
        return model.eval().test_step(copy.deepcopy(batch))


def one_by_one(model: nn.Module, batch: dict[str, list]) -> list[Any]:
    images = range(len(batch["inputs"]))
    parts = [{key: values[i : i + 1] for key, values in batch.items()} for i in images]
    return [result for part in parts for result in predict(model, part)]


def train_step(model: nn.Module, batch: dict[str, list]) -> None:
    """Make a step and check the losses and that every part learns from it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = model.train().train_step(copy.deepcopy(batch), OptimWrapper(optimizer))
    assert losses["loss"] > 0
    assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values()), losses
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert {name.split(".")[0] for name in changed} == {name.split(".")[0] for name in before}


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_take_any_sizes_in_a_batch(name: str) -> None:
    pytest.importorskip("mmdet")
    model = build(name, pad_size_divisor=1)  # the configs' own is 32
    batch = make_batch(name, MIXED)
    for (height, width), result in zip(MIXED, predict(model, batch), strict=True):
        found = result.pred_instances
        assert len(found) > 0
        assert found.bboxes.min() >= 0
        assert found.bboxes[:, 0::2].max() <= width and found.bboxes[:, 1::2].max() <= height
        assert found.labels.max() < 80 and found.scores.isfinite().all()
        if name == MASK_RCNN:
            assert found.masks.shape == (len(found), height, width)
    train_step(model, batch)


@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentors_take_images_of_any_size(name: str) -> None:
    """Trained on in a batch, and tested on one by one.

    Images of a batch to test must agree in size, padded or not: MMSegmentation's rule, which its
    preprocessor checks before it pads. ``test_cfg=dict(size_divisor=32)`` there pads each image,
    and the map is cut back to it.
    """
    pytest.importorskip("mmseg")
    batch = make_batch(name, MIXED)
    for padding, test_cfg in (
        ({"size": (140, 120)}, None),
        ({"size": None, "size_divisor": 32}, {"size_divisor": 32}),
    ):
        model = build(name, **padding, test_cfg=test_cfg)
        with pytest.raises(AssertionError, match="image size in a batch should be the same"):
            predict(model, batch)
        for (height, width), result in zip(MIXED, one_by_one(model, batch), strict=True):
            assert result.pred_sem_seg.data.shape == (1, height, width)
            assert result.seg_logits.data.shape == (150, height, width)
            assert result.seg_logits.data.isfinite().all()
            assert len(result.pred_sem_seg.data.unique()) > 1
        train_step(model, batch)
