_base_ = "../_base_/stvit_in1k-384px.py"

model = dict(
    backbone=dict(arch="large", drop_path_rate=0.6),  # (ours) as at the end at 224x224
    head=dict(in_channels=640),
)
load_from = "checkpoints/stvit-l_in1k.pth"
