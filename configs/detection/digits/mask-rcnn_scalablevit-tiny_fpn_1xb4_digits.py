_base_ = [
    "./_base_/mask-rcnn_scalablevit-tiny_fpn.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
