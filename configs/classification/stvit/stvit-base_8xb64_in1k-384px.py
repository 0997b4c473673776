_base_ = "../_base_/stvit_in1k-384px.py"

model = dict(backbone=dict(arch="base", drop_path_rate=0.4))  # (ours) as at 224x224
load_from = "checkpoints/stvit-b_in1k.pth"
