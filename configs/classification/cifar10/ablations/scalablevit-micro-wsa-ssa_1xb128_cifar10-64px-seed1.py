_base_ = "./scalablevit-micro-wsa-ssa_1xb128_cifar10-64px.py"

randomness = dict(seed=1)
