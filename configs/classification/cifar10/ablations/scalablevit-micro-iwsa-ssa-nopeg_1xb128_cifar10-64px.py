# Table 5(b), LIM, in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"

model = dict(backbone=dict(arch=dict(peg=False)))
