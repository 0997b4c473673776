# UperNet, with an auxiliary head on the third stage
_base_ = [
    "../../scalablevit/_base_/upernet_scalablevit-s.py",
    "../../../_base_/stvit-small.py",
]

model = dict(
    backbone=_base_.pop("backbone"),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
