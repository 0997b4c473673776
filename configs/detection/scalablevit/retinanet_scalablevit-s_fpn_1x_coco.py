_base_ = [
    "./_base_/retinanet_scalablevit-s_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "./_base_/schedule_1x.py",
]
