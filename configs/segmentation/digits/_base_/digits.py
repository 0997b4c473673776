# Scenes of handwritten digits with label maps, written by tools/prepare_digits.py in the layout
# of ADE20K; label 0 is background. All settings are (ours).
_base_ = "../../../_base_/digits.py"
data_root = "data/digits/segmentation"
metainfo = dict(
    classes=("background", *_base_.metainfo.classes),
    palette=[(60, 60, 60), *_base_.metainfo.palette],
)

# No flips: a mirrored digit is another one, or none.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
test_pipeline = train_pipeline
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        img_suffix=".png",
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type="BaseSegDataset",
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        img_suffix=".png",
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
