# Panoptic FPN with narrow heads, for objects of 16 to 64 pixels. All settings are (ours).
_base_ = ["../../lvt/_base_/panoptic-fpn_lvt.py", "../../../_base_/lvt-tiny.py"]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        drop_path_rate=0.0,
        # From scratch in minutes: the normal(0.02) of the large models starts too small.
        init_cfg=dict(_delete_=True, type="Xavier", layer="Linear"),
    ),
    neck=dict(
        in_channels=_base_.arch.embed_dims, out_channels=64, num_outs=4, norm_cfg=dict(type="BN")
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
    semantic_head=dict(
        num_things_classes=10,
        num_stuff_classes=1,
        in_channels=64,
        inner_channels=32,
        norm_cfg=dict(num_groups=8),
    ),
    panoptic_fusion_head=dict(num_things_classes=10, num_stuff_classes=1),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(score_thr=0.5, max_per_img=50)),
)
