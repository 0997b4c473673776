_base_ = [
    "./_base_/retinanet_scalablevit-tiny_fpn.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
# Its iterations take less time than Mask R-CNN's, so that there can be more of them.
train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=75),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=75, end=1500),
]
val_evaluator = dict(metric="bbox")
test_evaluator = val_evaluator
