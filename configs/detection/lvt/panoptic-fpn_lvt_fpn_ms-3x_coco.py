_base_ = [
    "./_base_/panoptic-fpn_lvt.py",
    "./_base_/coco_panoptic_ms.py",
    "./_base_/schedule_1x.py",
]
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=500),
    # (ours) as MMDetection's Panoptic FPN
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[24, 33], gamma=0.1),
]
