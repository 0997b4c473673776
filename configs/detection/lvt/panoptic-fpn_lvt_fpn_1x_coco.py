_base_ = [
    "./_base_/panoptic-fpn_lvt.py",
    "./_base_/coco_panoptic.py",
    "./_base_/schedule_1x.py",
]
