_base_ = [
    "./_base_/fpn_scalablevit-tiny.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
