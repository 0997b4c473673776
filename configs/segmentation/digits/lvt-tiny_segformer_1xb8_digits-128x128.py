_base_ = [
    "./_base_/segformer_lvt-tiny.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
