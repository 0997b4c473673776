# The architecture "small" spelled out, for variants that change a part of it.
arch = dict(
    embed_dims=[64, 128, 256, 512],
    depths=[2, 2, 20, 2],
    num_heads=[2, 4, 8, 16],
    channel_ratios=[1.25, 1.25, 1.25, 1.0],
    spatial_ratios=[8, 4, 2, 1],
)
