# (ours) The small LVT with class attention and mixed tokens, for ten classes, as a variable.
_base_ = "./lvt-tiny.py"
classifier = dict(
    type="TokenLabelClassifier",
    backbone=dict(type="LVT", arch=_base_.arch, output_norms=False),
    neck=None,
    head=dict(_delete_=True, type="ClassAttentionHead", num_classes=10, in_channels=128),
)
