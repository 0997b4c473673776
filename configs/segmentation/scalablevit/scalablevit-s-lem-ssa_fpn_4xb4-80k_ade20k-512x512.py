# Tables 5(b) and 7, PEG and LEM: LIM's convolution within each window.
_base_ = "./scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base="small", attentions=["WSAWithLEM", "SSA"]),
        init_cfg=dict(checkpoint="work_dirs/scalablevit-small-lem-ssa_8xb128_in1k/epoch_300.pth"),
    )
)
