# The teacher of the LVT with token labels.
_base_ = ["../_base_/cifar10-96px.py", "../../_base_/scalablevit-tiny.py"]

model = dict(backbone=dict(arch=_base_.arch))
