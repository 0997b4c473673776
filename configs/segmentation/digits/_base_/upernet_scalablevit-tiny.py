# UperNet on ScalableViT. All settings are (ours).
_base_ = ["./narrow_upernet.py", "../../../_base_/scalablevit-tiny.py"]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        drop_path_rate=0.0,
        # From scratch in minutes: the normal(0.02) of the large models starts too small.
        init_cfg=dict(_delete_=True, type="Xavier", layer="Linear"),
    ),
    decode_head=dict(in_channels=_base_.arch.embed_dims),
    auxiliary_head=dict(in_channels=_base_.arch.embed_dims[2]),
)
