# UperNet, with an auxiliary head on the third stage
_base_ = "../../scalablevit/_base_/upernet_scalablevit-s.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="STViT",
        arch="small",
        out_indices=(0, 1, 2, 3),
        output_norms=True,  # (ours)
        # A GPU holds too few images for statistics of its own.
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        drop_path_rate=0.2,  # (ours) as for ScalableViT
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(
            type="Pretrained",
            checkpoint="checkpoints/stvit-s_in1k.pth",
            prefix="backbone.",
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
