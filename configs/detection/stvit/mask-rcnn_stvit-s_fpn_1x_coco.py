_base_ = [
    "./_base_/mask-rcnn_stvit-s_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../scalablevit/_base_/schedule_1x.py",
]
optim_wrapper = dict(optimizer=dict(lr=2e-4))  # (ours) as for ScalableViT
