# RetinaNet with a narrow head, for objects of 16 to 64 pixels. All settings are (ours).
_base_ = [
    "../../scalablevit/_base_/retinanet_scalablevit-s_fpn.py",
    "../../../_base_/scalablevit-tiny.py",
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        drop_path_rate=0.0,
        # From scratch in minutes: the normal(0.02) of the large models starts too small.
        init_cfg=dict(_delete_=True, type="Xavier", layer="Linear"),
    ),
    neck=dict(
        in_channels=_base_.arch.embed_dims[1:],
        out_channels=64,
        num_outs=3,  # strides 8, 16 and 32; there is nothing for coarser ones to find
        norm_cfg=dict(type="BN"),
    ),
    bbox_head=dict(
        num_classes=10,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=dict(type="BN"),
        anchor_generator=dict(
            octave_base_scale=3, scales_per_octave=2, ratios=[1.0, 1.6], strides=[8, 16, 32]
        ),
    ),
    test_cfg=dict(nms_pre=300, max_per_img=50),
)
