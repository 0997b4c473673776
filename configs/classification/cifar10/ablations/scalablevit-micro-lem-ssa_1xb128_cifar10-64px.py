# Table 5(b), PEG and LEM, in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"

model = dict(backbone=dict(arch=dict(attentions=["WSAWithLEM", "SSA"])))
