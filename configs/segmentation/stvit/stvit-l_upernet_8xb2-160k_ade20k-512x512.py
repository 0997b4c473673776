_base_ = "./stvit-s_upernet_8xb2-160k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch="large",
        drop_path_rate=0.3,  # (ours) as for ScalableViT
        init_cfg=dict(checkpoint="checkpoints/stvit-l_in1k.pth"),
    ),
    decode_head=dict(in_channels=[96, 192, 448, 640]),
    auxiliary_head=dict(in_channels=448),
)
