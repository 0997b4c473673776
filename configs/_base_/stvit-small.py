# STViT-S as the backbone of detectors and segmentors. Their bases pop it, so that the merged config
# has it in the model alone.
backbone = dict(
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
)
