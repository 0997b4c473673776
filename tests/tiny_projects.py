"""Projects of a user with a few images each: a config, and the data that it names below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmscalablevit.datasets import prepare_digits
from tests import tiny_data
from tests.leaves import LEAVES

CLASSIFICATION = """
default_scope = "mmpretrain"
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ScalableViT",
        arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4],
                  channel_ratios=[1, 1, 1, 1], spatial_ratios=[8, 4, 2, 1]),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=3, in_channels=32, topk=(1,),
              loss=dict(type="CrossEntropyLoss")),
)
data_preprocessor = dict(num_classes=3, mean=[127.0] * 3, std=[60.0] * 3, to_rgb=True)
pipeline = [
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=(40, 40)), dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CustomDataset", data_root="data/pets", data_prefix="train",
                 metainfo=dict(classes=["cat", "dog", "hamster"]), pipeline=pipeline),
)
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CustomDataset", data_root="data/pets", data_prefix="val",
                 metainfo=dict(classes=["cat", "dog", "hamster"]), pipeline=pipeline),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1, 2))
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2)
visualizer = dict(type="UniversalVisualizer", vis_backends=[])
randomness = dict(seed=0)
"""

# What makes a config for the scenes of digits run in a second.
SHORT = """
_base_ = {base!r}
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
param_scheduler = []
train_cfg = dict(max_iters=1, val_interval=1)
visualizer = dict(vis_backends=[])
default_hooks = dict(checkpoint=dict(interval=1))
"""
BASES = {
    "detection": "retinanet_scalablevit-tiny_fpn_1xb4_digits",
    "instances": "mask-rcnn_scalablevit-tiny_fpn_1xb4_digits",
    "segmentation": "scalablevit-tiny_fpn_1xb8_digits-128x128",
}


def write(home: Path) -> None:
    """Write ``classification.py``, ``detection.py``, ``instances.py``, ``segmentation.py``."""
    (home / "classification.py").write_text(CLASSIFICATION)
    for name, base in BASES.items():
        (home / f"{name}.py").write_text(SHORT.format(base=str(LEAVES[base])))
    folders = ["cat", "dog", "hamster"]
    tiny_data.write_class_folders(home / "data/pets", folders, {"train": 4, "val": 3})
    dense = ("detection", "segmentation")
    prepare_digits(home / "data/digits", tasks=dense, num_train=3, num_val=2)


def save_checkpoint(config: Path, path: Path, **changes: Any) -> Path:
    """Write a checkpoint of a config's model as it is initialized.

    Args:
        config: The config.
        path: The checkpoint.
        changes: Changes to the config, with ``__`` for each dot.
    """
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({name.replace("__", "."): value for name, value in changes.items()})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, path)
    return path
