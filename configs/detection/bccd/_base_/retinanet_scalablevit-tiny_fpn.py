# RetinaNet with a narrow head; cells are round, of some 30, 80 and 150 pixels. All settings are
# (ours).
_base_ = "../../digits/_base_/retinanet_scalablevit-tiny_fpn.py"

model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(octave_base_scale=4, scales_per_octave=2, ratios=[1.0]),
    ),
    test_cfg=dict(nms_pre=500, max_per_img=100),
)
