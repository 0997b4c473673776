# Table 5(a), IWSA & SSA, and 5(b), PEG and LIM, in miniature.
_base_ = "../../_base_/cifar10-64px-micro.py"
