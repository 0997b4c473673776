_base_ = [
    "./_base_/retinanet_scalablevit-tiny_fpn.py",
    "./_base_/bccd.py",
    "./_base_/schedule.py",
]
