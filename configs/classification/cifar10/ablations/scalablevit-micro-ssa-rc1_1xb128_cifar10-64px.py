# Table 5(a), SSA (r_c=1), in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"

model = dict(backbone=dict(arch=dict(attentions=["SSA"], channel_ratios=[1.0, 1.0, 1.0])))
