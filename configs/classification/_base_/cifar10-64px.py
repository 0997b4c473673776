# (ours) CIFAR-10 enlarged to 64 pixels, where the stages' maps have 16, 8 and 4 positions a side,
# and a schedule of two hours on two CPU cores.
_base_ = "./cifar10-96px.py"
custom_imports = dict(_delete_=True, imports=["mmscalablevit", "mmscalablevit.runner.optimizers"])

enlarge = dict(type="Resize", scale=(64, 64))
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5),
    enlarge,
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), enlarge, dict(type="PackInputs")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(backbone=dict(drop_path_rate=0.0))
# In bfloat16, which the CPU takes too.
optim_wrapper = dict(
    type="AmpOptimWrapper", dtype="bfloat16", optimizer=dict(type="MuonAdamW", lr=5e-3, fused=True)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, end=3, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=3, end=44, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=44, val_interval=4)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=2, max_keep_ckpts=2))
