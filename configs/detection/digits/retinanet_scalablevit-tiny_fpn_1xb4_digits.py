_base_ = [
    "./_base_/retinanet_scalablevit-tiny_fpn.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
# An iteration takes less than half the time of Mask R-CNN's, so that there can be more.
train_cfg = dict(max_iters=2500, val_interval=2500)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=125),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=125, end=2500),
]
val_evaluator = dict(metric="bbox")
test_evaluator = val_evaluator
