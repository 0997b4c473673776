_base_ = ["../_base_/digits.py", "../../_base_/scalablevit-tiny.py"]

model = dict(backbone=dict(arch=_base_.arch))
