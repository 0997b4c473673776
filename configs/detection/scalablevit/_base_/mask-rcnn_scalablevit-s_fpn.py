_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="ScalableViT",
        arch="small",
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,  # (ours) as in Twins
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/scalablevit-s_in1k.pth",
            prefix="backbone.",
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
