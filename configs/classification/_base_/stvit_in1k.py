# ImageNet-1K training of STViT. Its authors' drop path; all else is (ours): ScalableViT's recipe.
_base_ = "./scalablevit_in1k.py"
custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.heads"])

model = dict(
    backbone=dict(_delete_=True, type="STViT", arch="small", drop_path_rate=0.1),
    neck=None,  # the head takes the map
    head=dict(
        _delete_=True,
        type="ConvClsHead",
        num_classes=1000,
        in_channels=512,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
)
