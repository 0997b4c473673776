# (ours) Fine-tuning on few images, whatever the task: 20 epochs at a small learning rate, and each
# layer of the backbone at 0.9 times the rate of the next.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="LayerDecayConstructor",
    optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={"peg": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=20, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1)
val_cfg = dict()
test_cfg = dict()
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
