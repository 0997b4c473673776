_base_ = "../_base_/stvit_in1k.py"

custom_imports = dict(
    imports=["mmscalablevit", "mmscalablevit.models.heads", "mmscalablevit.hooks"]
)
model = dict(
    backbone=dict(arch="large", drop_path_rate=0.4),
    head=dict(in_channels=640),
)
# The authors' notes: 0.4, and 0.6 for the last 40 epochs
custom_hooks = [dict(type="DropPathHook", rate=0.6, begin=260)]
