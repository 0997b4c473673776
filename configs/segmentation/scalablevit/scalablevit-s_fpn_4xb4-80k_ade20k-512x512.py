_base_ = [
    "./_base_/fpn_scalablevit-s.py",
    "./_base_/ade20k.py",
    "./_base_/schedule_80k.py",
]
train_dataloader = dict(batch_size=4)
