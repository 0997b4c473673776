# Table 5(b), PEG alone: no LIM in the window attention.
_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base="small", attentions=["WSA", "SSA"]),
        init_cfg=dict(checkpoint="work_dirs/scalablevit-small-wsa-ssa_8xb128_in1k/epoch_300.pth"),
    )
)
