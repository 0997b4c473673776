# The plain head. All settings but drop path are (ours): ScalableViT's recipe.
_base_ = "../_base_/scalablevit_in1k.py"

model = dict(
    backbone=dict(_delete_=True, type="LVT", arch="lvt", drop_path_rate=0.1),
    head=dict(
        _delete_=True,
        type="LinearClsHead",
        num_classes=1000,
        in_channels=256,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02),
    ),
)
