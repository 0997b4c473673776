_base_ = [
    "./_base_/upernet_stvit-s.py",
    "../scalablevit/_base_/ade20k.py",
    "../scalablevit/_base_/schedule_160k.py",
]
train_dataloader = dict(batch_size=2)
