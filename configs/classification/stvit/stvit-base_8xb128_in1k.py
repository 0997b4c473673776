_base_ = "../_base_/stvit_in1k.py"

model = dict(backbone=dict(arch="base", drop_path_rate=0.4))
