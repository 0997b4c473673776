_base_ = [
    "./_base_/upernet_scalablevit-tiny.py",
    "./_base_/digits.py",
    "./_base_/schedule.py",
]
# At 1e-3 the loss stays on its first plateau for much longer.
optim_wrapper = dict(optimizer=dict(lr=2e-3))
