# SegFormer's head, of the width that the released config embeds its maps in
_base_ = "../../scalablevit/_base_/scalablevit-s.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="LVT",
        arch="lvt",
        out_indices=(0, 1, 2, 3),
        output_norms=False,
        drop_path_rate=0.1,
        # ImageNet weights: see "ImageNet weights" in the README beside the leaf configs.
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/lvt_in1k.pth", prefix="backbone."),
    ),
    decode_head=dict(
        type="SegformerHead",
        in_channels=[64, 64, 160, 256],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
)
