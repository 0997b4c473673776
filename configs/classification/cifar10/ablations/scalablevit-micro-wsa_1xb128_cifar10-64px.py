# Table 5(a), WSA, in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"

model = dict(backbone=dict(arch=dict(attentions=["WSA"])))
