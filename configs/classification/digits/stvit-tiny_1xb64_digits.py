_base_ = ["../_base_/digits.py", "../../_base_/stvit-tiny.py"]

custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.heads"])
model = dict(
    backbone=dict(type="STViT", arch=_base_.arch),
    neck=None,  # the head takes the map
    head=dict(type="ConvClsHead", in_channels=192, mid_channels=256),
)
