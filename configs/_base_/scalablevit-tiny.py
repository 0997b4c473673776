# (ours) An architecture of 2.6 M parameters, for learning on a CPU within minutes.
arch = dict(
    embed_dims=[32, 64, 128, 256],
    depths=[2, 2, 2, 2],
    num_heads=[1, 2, 4, 8],
    channel_ratios=[1.25, 1.25, 1.25, 1.0],
    spatial_ratios=[8, 4, 2, 1],
)
