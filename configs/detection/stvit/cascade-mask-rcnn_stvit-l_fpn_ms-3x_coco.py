_base_ = "./cascade-mask-rcnn_stvit-s_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        arch="large",
        init_cfg=dict(checkpoint="checkpoints/stvit-l_in1k.pth"),
    ),
    neck=dict(in_channels=[96, 192, 448, 640]),
)
