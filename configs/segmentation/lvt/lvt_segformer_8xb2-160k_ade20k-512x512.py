_base_ = [
    "./_base_/segformer_lvt.py",
    "../scalablevit/_base_/ade20k.py",
    "../scalablevit/_base_/schedule_160k.py",
]
train_dataloader = dict(batch_size=2)  # (ours) as in SegFormer
# The head learns ten times as fast. Norms take no decay, as in the base.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"decode_head": dict(lr_mult=10.0)}))
