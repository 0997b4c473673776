# 6,000 iterations of 4 photographs, 82 epochs. All settings are (ours).
_base_ = "../../digits/_base_/schedule.py"
custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.runner.optimizers"])

# In bfloat16, which the CPU takes too.
optim_wrapper = dict(
    type="AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="MuonAdamW", lr=2e-3)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=300),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=300, end=6000),
]
train_cfg = dict(max_iters=6000, val_interval=1000)
