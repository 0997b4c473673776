_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch="large",
        init_cfg=dict(checkpoint="checkpoints/scalablevit-l_in1k.pth"),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
