# 12,000 iterations of 8 crops. All settings are (ours).
_base_ = "../../digits/_base_/schedule.py"

# In bfloat16, which the CPU takes too.
optim_wrapper = dict(
    type="AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="MuonAdamW", lr=2e-3)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=600),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=600, end=12000),
]
train_cfg = dict(max_iters=12000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=1000))
