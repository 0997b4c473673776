_base_ = [
    "./_base_/upernet_scalablevit-s.py",
    "./_base_/ade20k.py",
    "./_base_/schedule_160k.py",
]
train_dataloader = dict(batch_size=2)
