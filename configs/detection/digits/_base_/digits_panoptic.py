# The scenes of digits.py with panoptic annotations. All settings are (ours).
_base_ = "./digits.py"
metainfo = dict(
    classes=(*_base_.metainfo.classes, "background"),
    thing_classes=_base_.metainfo.classes,
    stuff_classes=("background",),
    palette=[*_base_.metainfo.palette, (60, 60, 60)],
)

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type="LoadPanopticSegments"),
    _base_.train_pipeline[-1],
]
test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type="LoadPanopticSegments"),
    _base_.test_pipeline[-1],
]
train_dataloader = dict(
    dataset=dict(
        type="CocoPanopticDataset",
        ann_file="annotations/panoptic_train2017.json",
        data_prefix=dict(seg="annotations/panoptic_train2017/"),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="CocoPanopticDataset",
        ann_file="annotations/panoptic_val2017.json",
        data_prefix=dict(seg="annotations/panoptic_val2017/"),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type="PanopticQuality",
    ann_file=_base_.data_root + "annotations/panoptic_val2017.json",
    seg_prefix=_base_.data_root + "annotations/panoptic_val2017/",
)
test_evaluator = val_evaluator
