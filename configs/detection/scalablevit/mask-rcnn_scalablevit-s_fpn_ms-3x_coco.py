_base_ = [
    "./_base_/mask-rcnn_scalablevit-s_fpn.py",
    "./_base_/coco_instance_ms.py",
    "./_base_/schedule_3x.py",
]
