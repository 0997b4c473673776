# UperNet with narrow heads on STViT. All settings are (ours).
_base_ = [
    "../../stvit/_base_/upernet_stvit-s.py",
    "../../../_base_/stvit-tiny.py",
]

# As for ScalableViT's UperNet: most pixels are background, and batches are small.
class_weight = [1.0] + 10 * [5.0]
norm_cfg = dict(type="GN", num_groups=8)
model = dict(
    data_preprocessor=dict(size=None, size_divisor=32),
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        drop_path_rate=0.0,
        norm_cfg=dict(type="BN"),
        init_cfg=None,
    ),
    decode_head=dict(
        in_channels=_base_.arch.embed_dims,
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=_base_.arch.embed_dims[2],
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
)
