_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch="base",
        init_cfg=dict(checkpoint="checkpoints/scalablevit-b_in1k.pth"),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
