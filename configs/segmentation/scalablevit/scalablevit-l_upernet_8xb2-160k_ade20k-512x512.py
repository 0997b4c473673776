_base_ = "./scalablevit-s_upernet_8xb2-160k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch="large",
        drop_path_rate=0.3,  # (ours)
        init_cfg=dict(checkpoint="checkpoints/scalablevit-l_in1k.pth"),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
