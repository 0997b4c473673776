# 1,000 iterations of 4 scenes, under six minutes on 2 CPU cores. All settings are (ours).
_base_ = ["mmdet::_base_/default_runtime.py", "../../../_base_/schedule_digits.py"]
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)

param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=1000),
]
auto_scale_lr = dict(enable=False, base_batch_size=4)

# One validation, at the end: each costs the time of some fifty iterations.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1000, val_interval=1000)

default_hooks = dict(
    logger=dict(interval=25, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2),
)
log_processor = dict(window_size=25, by_epoch=False)
