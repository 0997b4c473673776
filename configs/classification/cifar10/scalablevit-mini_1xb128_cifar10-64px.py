_base_ = ["../_base_/cifar10-64px.py", "../../_base_/scalablevit-mini.py"]

model = dict(
    backbone=dict(
        arch=_base_.arch,
        out_indices=(2,),
        # From scratch in hours: the normal(0.02) of the large models starts too small.
        init_cfg=dict(type="Xavier", layer="Linear"),
    ),
    head=dict(in_channels=192),
)
