_base_ = [
    "./_base_/upernet_stvit-tiny.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
