# (ours) An architecture of 1.7 M parameters for photographs of 64 pixels: three stages, of 16, 8
# and 4 positions a side, and windows that divide all of them.
arch = dict(
    embed_dims=[48, 96, 192],
    depths=[2, 4, 2],
    num_heads=[2, 4, 8],
    channel_ratios=[1.25, 1.25, 1.0],
    spatial_ratios=[4, 2, 1],
    window_size=4,
)
