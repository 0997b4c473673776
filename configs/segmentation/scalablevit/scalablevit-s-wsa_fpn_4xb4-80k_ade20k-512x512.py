# Table 5(a), "WSA": window attention without LIM in every block.
_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base="small", attentions=["WSA"]),
        init_cfg=dict(checkpoint="work_dirs/scalablevit-small-wsa_8xb128_in1k/epoch_300.pth"),
    )
)
