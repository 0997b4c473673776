# SegFormer's head, narrow, on LVT. All settings are (ours).
_base_ = [
    "../../lvt/_base_/segformer_lvt.py",
    "../../../_base_/lvt-tiny.py",
]

# The head sees single pixels, so the backbone alone must tell digits apart. It learns that with
# wider and deeper stages, and an auxiliary head.
embed_dims = [32, 64, 128, 160]
# Most pixels are background; unweighted, all of them become that.
class_weight = [1.0] + 10 * [5.0]
norm_cfg = dict(type="GN", num_groups=8)
model = dict(
    data_preprocessor=dict(size=None, size_divisor=32),
    backbone=dict(
        arch=dict(
            _base_.arch,
            _delete_=True,
            embed_dims=embed_dims,
            depths=[1, 2, 2, 1],
            num_heads=[1, 2, 4, 5],
        ),
        drop_path_rate=0.0,
        # From scratch in minutes: the normal(0.02) of the large models starts too small.
        init_cfg=dict(_delete_=True, type="Xavier", layer="Linear"),
    ),
    decode_head=dict(
        in_channels=embed_dims,
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=dict(_delete_=True, **norm_cfg),
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=embed_dims[2],
        in_index=2,
        channels=64,
        num_convs=1,
        concat_input=False,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss", class_weight=class_weight),
    ),
)
