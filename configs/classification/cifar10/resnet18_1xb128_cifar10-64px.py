# For comparison: MMPretrain's own ResNet-18, all else equal.
_base_ = "../_base_/cifar10-64px.py"

model = dict(
    backbone=dict(_delete_=True, type="ResNet", depth=18),
    head=dict(in_channels=512),
)
