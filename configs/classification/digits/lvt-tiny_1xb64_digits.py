_base_ = ["../_base_/digits.py", "../../_base_/lvt-tiny.py"]

model = dict(backbone=dict(type="LVT", arch=_base_.arch), head=dict(in_channels=128))
