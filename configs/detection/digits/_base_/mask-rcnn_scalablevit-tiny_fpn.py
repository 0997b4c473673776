# Mask R-CNN with narrow heads. All settings are (ours).
_base_ = [
    "../../scalablevit/_base_/mask-rcnn_scalablevit-s_fpn.py",
    "../../../_base_/scalablevit-tiny.py",
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
        in_channels=_base_.arch.embed_dims,
        out_channels=64,
        num_outs=4,
        norm_cfg=dict(type="BN"),
    ),
    **_base_.pop("rcnn"),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)
