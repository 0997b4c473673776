# Table 5(a), SWSA & SSA, in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"

model = dict(backbone=dict(arch=dict(attentions=["SWSA", "SSA"])))
