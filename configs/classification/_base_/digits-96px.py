# (ours) The scans of digits enlarged to 96 pixels, where the last map has 3 x 3 positions. The
# transforms take label maps along, and do without.
_base_ = "./digits.py"
custom_imports = dict(
    imports=[
        "mmscalablevit",
        "mmscalablevit.models.heads",
        "mmscalablevit.models.token_label",
        "mmscalablevit.datasets.token_labels",
    ],
    allow_failed_imports=False,
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TokenLabelRandAugment",
        policies=[
            dict(type="Rotate", angle=12.0, interpolation="bilinear"),
            dict(type="Shear", magnitude=0.15, direction="horizontal", interpolation="bilinear"),
        ],
        num_policies=2,
        magnitude_level=10,
        hparams=dict(pad_val=0),
    ),
    dict(type="TokenLabelRandomResizedCrop", scale=96, crop_ratio_range=(0.5, 1.0)),
    dict(type="PackInputs", algorithm_keys=("gt_score_map", "gt_crop_box")),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 96)),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"cls_token": dict(decay_mult=0.0)}))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=20, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20)
