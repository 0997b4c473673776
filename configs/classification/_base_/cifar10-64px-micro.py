# (ours) The paper's ablations in miniature: a ScalableViT of 0.4 M parameters, ten epochs of
# CIFAR-10 at 64 pixels, where the stages' maps have 16, 8 and 4 positions a side.
_base_ = "./cifar10-64px.py"

model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=[24, 48, 96],
            depths=[2, 2, 2],
            num_heads=[1, 2, 4],
            channel_ratios=[1.25, 1.25, 1.0],
            spatial_ratios=[4, 2, 1],
            window_size=4,
            attentions=["IWSA", "SSA"],
            peg=True,
        ),
        out_indices=(2,),
        init_cfg=dict(type="Xavier", layer="Linear"),
    ),
    head=dict(in_channels=96),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=1, end=10, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10, val_interval=10)
