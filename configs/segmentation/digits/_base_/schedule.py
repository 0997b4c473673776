# 1,600 iterations of 8 scenes, under six minutes on 2 CPU cores. All settings are (ours).
_base_ = [
    "../../scalablevit/_base_/default_runtime.py",
    "../../../_base_/schedule_digits.py",
]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=80),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=80, end=1600),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

# One validation, at the end.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1600, val_interval=1600)

default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=800, max_keep_ckpts=2))
