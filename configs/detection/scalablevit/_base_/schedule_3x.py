# 36 epochs, learning rate / 10 after 27 and 33, warm-up over 500 iterations
_base_ = "./schedule_1x.py"

train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=500),  # (ours) factor
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    # No weight decay on norms and position encoding generators: what has these in its name.
    paramwise_cfg=dict(custom_keys={"norm": dict(decay_mult=0.0), "peg": dict(decay_mult=0.0)}),
)
