_base_ = ["mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py", "../../../_base_/stvit-small.py"]

model = dict(
    backbone=_base_.pop("backbone"),
    neck=dict(in_channels=[64, 128, 320, 512]),
)
