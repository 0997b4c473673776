_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="ScalableViT",
        arch="small",
        # The FPN starts at the second stage. Were the first one's map an output too, its norm
        # would never take a gradient, which distributed training refuses.
        out_indices=(1, 2, 3),
        drop_path_rate=0.2,  # (ours) as in Twins
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/scalablevit-s_in1k.pth",
            prefix="backbone.",
        ),
    ),
    # start_level counts the maps above: 0 is the second stage. The two extra levels come from
    # the last input, as in the base (add_extra_convs="on_input").
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
