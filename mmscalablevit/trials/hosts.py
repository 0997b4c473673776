"""Other projects' own configs with ScalableViT in the place of their backbone.

The backbone is a small one, whose maps have the channels of :data:`CHANNELS`; everything else is as
the config says. What reads the maps is told their channels.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmscalablevit.checks import require
from mmscalablevit.checks.datasets import part_findings
from mmscalablevit.checks.evaluators import evaluator_findings
from mmscalablevit.checks.label_maps import head_findings
from mmscalablevit.checks.weights import check_backbone
from mmscalablevit.cli.building import build_model

CHANNELS = (16, 32, 48, 64)
ARCH = {
    "embed_dims": list(CHANNELS), "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4],
    "channel_ratios": [1, 1, 1, 1], "spatial_ratios": [8, 4, 2, 1],
}  # fmt: skip

# Channels of other backbones' maps, by ours.
RESNET = dict(zip((256, 512, 1024, 2048), CHANNELS, strict=True))
MIT = dict(zip((32, 64, 160, 256), CHANNELS, strict=True))
CSPNEXT_TINY = {384: CHANNELS[-1]}


@dataclass(frozen=True)
class Host:
    """A project whose models take a backbone.

    Attributes:
        package: What is imported; its name is that of the project's scope in MMEngine, too.
        title: The project's name.
        configs: Below the project's folder of configs.
        make_batch: Makes two labelled images for a config: for a step of training, or of a
            validation.
        indices: Stages whose maps are read where a config's backbone does not say it.
    """

    package: str
    title: str
    configs: tuple[str, ...]
    make_batch: Callable[[Config, bool], dict[str, Any]]
    indices: tuple[int, ...] = (0, 1, 2, 3)

    def read(self, path: str) -> Config:
        """Read a config, with our backbone in it."""
        root = Path(importlib.import_module(self.package).__file__ or "").parent
        cfg = Config.fromfile(root / ".mim/configs" / path)
        if cfg.model.get("neck", {}).get("widen_factor"):
            put_into_yolo(cfg.model)
        else:
            put_into(cfg.model, self.indices)
        if self.package == "mmseg":
            cfg.model.pretrained = None
            cfg.model.data_preprocessor.size = (64, 64)
        return cfg


def put_into(model: ConfigDict, indices: tuple[int, ...]) -> None:
    """Replace a model's ResNet, MiT or CSPNeXt-tiny, and tell its readers our channels."""
    backbone = model.backbone
    widths = {"MixVisionTransformer": MIT, "CSPNeXt": CSPNEXT_TINY}.get(backbone.type, RESNET)
    neck = model.get("neck") or {}
    readers = ("neck",) if "in_channels" in neck else ("head", "decode_head", "auxiliary_head")
    for key in readers:
        if model.get(key):
            model[key] = adapted(model[key], widths)
    wanted = backbone.get("out_indices", indices)
    if backbone.type == "CSPNeXt":
        wanted = [index - 1 for index in wanted]  # it counts its stem
    model.backbone = {"type": "ScalableViT", "arch": ARCH, "out_indices": wanted}


def adapted(part: Mapping[str, Any], widths: Mapping[int, int]) -> dict[str, Any]:
    """The settings of a part that reads the backbone's maps, for maps of our widths."""
    found = dict(part)
    for key in ("in_channels", "c1_in_channels"):
        channels = found.get(key)
        if isinstance(channels, (list, tuple)):
            found[key] = [widths[number] for number in channels]
        elif channels:
            found[key] = widths[channels]
    return found


def put_into_yolo(model: ConfigDict) -> None:
    """Replace a model's backbone of strides 8 to 32; widths that pass through are ours."""
    for part in (model.neck, model.bbox_head.head_module):
        part.widen_factor = 1.0
        for key in ("in_channels", "out_channels"):
            if isinstance(part.get(key), (list, tuple)):
                part[key] = list(CHANNELS[1:])
    model.backbone = {"type": "ScalableViT", "arch": ARCH, "out_indices": (1, 2, 3)}


def detection_batch(cfg: Config, training: bool) -> dict[str, Any]:
    """Images with boxes, and masks where the model has some."""
    testing = importlib.import_module("mmdet.testing")
    masks = "mask" in str(cfg.model).lower()
    return testing.demo_mm_inputs(
        2, [(3, 96, 96)] * 2, num_items=[2, 2], num_classes=80, with_mask=masks
    )


def yolo_batch(cfg: Config, training: bool) -> dict[str, Any]:
    """Images with boxes; for a training in the layout that MMYOLO's loaders give."""
    testing = importlib.import_module("mmdet.testing")
    data = testing.demo_mm_inputs(
        2, [(3, 96, 96)] * 2, num_items=[2, 2], num_classes=80, use_box_type=True
    )
    if not training:
        return data
    samples = [
        {"inputs": image, "data_samples": sample}
        for image, sample in zip(data["inputs"], data["data_samples"], strict=True)
    ]
    collate = importlib.import_module("mmyolo.datasets.utils").yolov5_collate
    as_list = cfg.train_dataloader.collate_fn.get("use_ms_training", False)
    return collate(samples, use_ms_training=as_list)


def rotated_batch(cfg: Config, training: bool) -> dict[str, Any]:
    """Images with rotated boxes."""
    testing = importlib.import_module("mmrotate.testing")
    return testing.demo_mm_inputs(
        2, [(3, 128, 128)] * 2, num_items=[2, 2], num_classes=15, use_box_type=True
    )


def pose_batch(cfg: Config, training: bool) -> dict[str, Any]:
    """Images with 17 keypoints each."""
    return importlib.import_module("mmpose.testing").get_packed_inputs(2)


def segmentation_batch(cfg: Config, training: bool) -> dict[str, Any]:
    """Images with label maps of ADE20K's 150 classes."""
    structures = importlib.import_module("mmseg.structures")
    samples = []
    for _ in range(2):
        sample = structures.SegDataSample(metainfo={"ori_shape": (64, 64), "img_shape": (64, 64)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, 64, 64)))
        samples.append(sample)
    return {"inputs": [torch.randint(0, 255, (3, 64, 64)).byte()] * 2, "data_samples": samples}


def try_model(host: Host, path: str) -> BaseModel:
    """Check, build, train for two steps and validate a host's model with our backbone.

    Returns:
        The model.

    Raises:
        UsageError: `tools/train.py` would refuse the config.
        RuntimeError: The backbone does not change, or its loss is not a number above 0.
    """
    cfg = host.read(path)
    require(part_findings(cfg))
    require(head_findings(cfg))
    for split in ("val", "test"):
        require(evaluator_findings(cfg, split))
    check_backbone(cfg)
    model: Any = build_model(cfg)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-4))
    first = model.backbone.get_parameter("stages.0.patch_embed.projection.weight")
    before = first.detach().clone()
    # some heads ask how far the training is, as the Runner notes it
    MessageHub.get_current_instance().update_info_dict({"epoch": 0, "iter": 0, "max_epochs": 1})
    for _ in range(2):  # no gradient passes layers that begin with zeros
        losses = model.train().train_step(host.make_batch(cfg, True), wrapper)
    loss = torch.as_tensor(losses["loss"])
    if not torch.isfinite(loss) or loss <= 0:
        raise RuntimeError(f"the loss is {loss.item()}")
    if torch.equal(before, first):
        raise RuntimeError("the backbone has learned nothing")
    with torch.no_grad():
        found = len(model.eval().val_step(host.make_batch(cfg, False)))
    if found != 2:
        raise RuntimeError(f"{found} predictions of 2 images")
    return model


HOSTS = (
    Host("mmdet", "MMDetection", (
        "retinanet/retinanet_r50_fpn_1x_coco.py",
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
        "atss/atss_r50_fpn_1x_coco.py",
        "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
        "gfl/gfl_r50_fpn_1x_coco.py",
        "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py",
        "solo/solo_r50_fpn_1x_coco.py",
        "rpn/rpn_r50_fpn_1x_coco.py",
        "detr/detr_r50_8xb2-150e_coco.py",
        "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
    ), detection_batch),
    Host("mmseg", "MMSegmentation", (
        "upernet/upernet_r50_4xb4-80k_ade20k-512x512.py",
        "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
        "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py",
        "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py",
        "fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
    ), segmentation_batch),
    Host("mmpose", "MMPose", (
        "body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py",
        "body_2d_keypoint/topdown_regression/coco/td-reg_res50_8xb64-210e_coco-256x192.py",
        "body_2d_keypoint/topdown_regression/coco/td-reg_res50_rle-8xb64-210e_coco-256x192.py",
        "body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py",
        "body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py",
    ), pose_batch, indices=(3,)),
    Host("mmyolo", "MMYOLO", (
        "yolov5/yolov5_s-v61_syncbn_fast_8xb16-300e_coco.py",
        "yolov6/yolov6_s_syncbn_fast_8xb32-300e_coco.py",
        "yolov8/yolov8_s_syncbn_fast_8xb16-500e_coco.py",
        "yolox/yolox_s_fast_8xb8-300e_coco.py",
        "rtmdet/rtmdet_s_syncbn_fast_8xb32-300e_coco.py",
        "ppyoloe/ppyoloe_s_fast_8xb32-300e_coco.py",
    ), yolo_batch),
    Host("mmrotate", "MMRotate", (
        "rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py",
        "rotated_faster_rcnn/rotated-faster-rcnn-le90_r50_fpn_1x_dota.py",
        "rotated_fcos/rotated-fcos-le90_r50_fpn_1x_dota.py",
        "oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py",
        "roi_trans/roi-trans-le90_r50_fpn_1x_dota.py",
        "s2anet/s2anet-le135_r50_fpn_1x_dota.py",
    ), rotated_batch),
)  # fmt: skip
