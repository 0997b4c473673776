# (ours) An LVT of 0.6 M parameters, for learning on a CPU within minutes.
arch = dict(
    embed_dims=[32, 32, 80, 128],
    depths=[1, 1, 2, 1],
    num_heads=[1, 1, 5, 8],
    ffn_ratios=[4, 4, 4, 4],
    attentions=["CSA", "RASA", "RASA", "RASA"],
    spatial_ratios=[1, 4, 2, 1],
)
