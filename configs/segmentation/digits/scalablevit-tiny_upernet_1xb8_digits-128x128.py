_base_ = [
    "./_base_/upernet_scalablevit-tiny.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
