# SegFormer's head, narrow, on LVT. All settings are (ours).
_base_ = [
    "../../lvt/_base_/segformer_lvt.py",
    "../../../_base_/lvt-tiny.py",
]

model = dict(
    data_preprocessor=dict(size=None, size_divisor=32),
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        drop_path_rate=0.0,
        # From scratch in minutes: the normal(0.02) of the large models starts too small.
        init_cfg=dict(_delete_=True, type="Xavier", layer="Linear"),
    ),
    decode_head=dict(
        in_channels=_base_.arch.embed_dims,
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=dict(type="BN"),
        # Most pixels are background; unweighted, all of them become that.
        loss_decode=dict(class_weight=[1.0] + 10 * [3.0]),
    ),
)
