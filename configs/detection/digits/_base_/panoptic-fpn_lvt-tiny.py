# Panoptic FPN with narrow heads. All settings are (ours).
_base_ = [
    "../../lvt/_base_/panoptic-fpn_lvt.py",
    "../../../_base_/lvt-tiny.py",
    "./narrow_rcnn.py",
]

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
    **_base_.pop("rcnn"),
    semantic_head=dict(
        num_things_classes=10,
        num_stuff_classes=1,
        in_channels=64,
        inner_channels=32,
        norm_cfg=dict(num_groups=8),
    ),
    panoptic_fusion_head=dict(num_things_classes=10, num_stuff_classes=1),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(score_thr=0.5, max_per_img=50)),
)
