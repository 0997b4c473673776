_base_ = "./scalablevit-micro-swsa-ssa_1xb128_cifar10-64px.py"

randomness = dict(seed=1)
