# For comparison: MMSegmentation's own ResNet-18, all else equal.
_base_ = "./scalablevit-tiny_fpn_1xb8_camvid-224x288.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNetV1c", depth=18, norm_cfg=dict(type="BN")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
