# For comparison: MMDetection's own ResNet-18, all else equal.
_base_ = "./retinanet_scalablevit-tiny_fpn_1xb4_bccd.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=18, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512]),
)
