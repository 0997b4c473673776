_base_ = [
    "./_base_/retinanet_scalablevit-s_fpn.py",
    "./_base_/coco_detection_ms.py",
    "./_base_/schedule_3x.py",
]
