_base_ = "./scalablevit-micro-iwsa_1xb128_cifar10-64px.py"

randomness = dict(seed=1)
