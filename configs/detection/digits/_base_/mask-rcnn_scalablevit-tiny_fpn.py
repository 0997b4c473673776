# Mask R-CNN with narrow heads, for objects of 16 to 64 pixels. All settings are (ours).
_base_ = [
    "../../scalablevit/_base_/mask-rcnn_scalablevit-s_fpn.py",
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
        in_channels=_base_.arch.embed_dims,
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type="BN"),
    ),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4, 6], ratios=[1.0, 1.6], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            in_channels=64, fc_out_channels=256, num_classes=10, reg_class_agnostic=True
        ),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(
            num_convs=2, in_channels=64, conv_out_channels=64, num_classes=10, class_agnostic=True
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)
