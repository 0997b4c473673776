_base_ = [
    "./_base_/cascade-mask-rcnn_stvit-s_fpn.py",
    "../scalablevit/_base_/coco_instance_ms.py",
    "../scalablevit/_base_/schedule_3x.py",
]
