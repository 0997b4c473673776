# UperNet on STViT. All settings are (ours).
_base_ = ["./narrow_upernet.py", "../../../_base_/stvit-tiny.py"]

model = dict(
    backbone=dict(
        _delete_=True,
        type="STViT",
        arch=_base_.arch,
        out_indices=(0, 1, 2, 3),
        output_norms=True,
        norm_cfg=dict(type="BN", requires_grad=True),
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    decode_head=dict(in_channels=_base_.arch.embed_dims),
    auxiliary_head=dict(in_channels=_base_.arch.embed_dims[2]),
)
