_base_ = [
    "./_base_/panoptic-fpn_lvt-tiny.py",
    "./_base_/digits_panoptic.py",
    "./_base_/schedule.py",
]
custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.evaluation.panoptic"])
