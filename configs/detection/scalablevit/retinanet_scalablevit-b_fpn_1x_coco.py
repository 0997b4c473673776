_base_ = "./retinanet_scalablevit-s_fpn_1x_coco.py"

model = dict(
    backbone=dict(
        arch="base",
        init_cfg=dict(checkpoint="checkpoints/scalablevit-b_in1k.pth"),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
