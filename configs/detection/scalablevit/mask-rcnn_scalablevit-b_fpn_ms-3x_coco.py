_base_ = "./mask-rcnn_scalablevit-s_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        arch="base",
        init_cfg=dict(checkpoint="checkpoints/scalablevit-b_in1k.pth"),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
