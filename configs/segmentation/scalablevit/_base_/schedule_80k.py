# Semantic FPN's: 80k iterations on 4 GPUs with 4 images each
_base_ = "./default_runtime.py"

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4),
)
param_scheduler = [
    dict(type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False, begin=0, end=80000),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

train_cfg = dict(type="IterBasedTrainLoop", max_iters=80000, val_interval=8000)  # (ours) interval
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
