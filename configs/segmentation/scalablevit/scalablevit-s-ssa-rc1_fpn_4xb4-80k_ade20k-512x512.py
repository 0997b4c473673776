# Table 5(a), "SSA (r_c=1)": in every block, queries and keys as wide as the map.
_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base="small", attentions=["SSA"], channel_ratios=[1, 1, 1, 1]),
        init_cfg=dict(checkpoint="work_dirs/scalablevit-small-ssa-rc1_8xb128_in1k/epoch_300.pth"),
    )
)
