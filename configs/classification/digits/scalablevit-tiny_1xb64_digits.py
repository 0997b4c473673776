_base_ = "../_base_/digits.py"

arch = dict(
    embed_dims=[32, 64, 128, 256],
    depths=[2, 2, 2, 2],
    num_heads=[1, 2, 4, 8],
    channel_ratios=[1.25, 1.25, 1.25, 1.0],
    spatial_ratios=[8, 4, 2, 1],
)
loss = dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")
model = dict(
    type="ImageClassifier",
    backbone=dict(type="ScalableViT", arch=arch, drop_path_rate=0.05),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=256, loss=loss),
)
