_base_ = "./scalablevit-micro-ssa-rc1_1xb128_cifar10-64px.py"

randomness = dict(seed=1)
