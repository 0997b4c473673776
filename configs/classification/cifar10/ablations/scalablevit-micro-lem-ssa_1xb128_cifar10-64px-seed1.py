_base_ = "./scalablevit-micro-lem-ssa_1xb128_cifar10-64px.py"

randomness = dict(seed=1)
