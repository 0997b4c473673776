# UperNet's: 160k iterations on 8 GPUs with 2 images each
_base_ = "./default_runtime.py"

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, weight_decay=0.01),
    # No weight decay on norms and position encoding generators: what has these in its name.
    paramwise_cfg=dict(custom_keys={"norm": dict(decay_mult=0.0), "peg": dict(decay_mult=0.0)}),
)
param_scheduler = [
    # 1e-6 of the learning rate, as in Swin
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

train_cfg = dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)  # (ours) interval
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

default_hooks = dict(checkpoint=dict(interval=16000))
