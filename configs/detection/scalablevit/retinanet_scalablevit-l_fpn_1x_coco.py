_base_ = "./retinanet_scalablevit-s_fpn_1x_coco.py"

model = dict(
    backbone=dict(
        arch="large",
        init_cfg=dict(checkpoint="checkpoints/scalablevit-l_in1k.pth"),
    ),
    neck=dict(in_channels=[256, 512, 1024]),
)
