# COCO panoptic. Annotations are read and predictions compared by this package: MMDetection's own
# classes need panopticapi, which no package index carries.
_base_ = "mmdet::_base_/datasets/coco_panoptic.py"
custom_imports = dict(
    imports=["mmscalablevit", "mmscalablevit.evaluation.panoptic"], allow_failed_imports=False
)

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args={{_base_.backend_args}}),
    dict(type="LoadPanopticSegments", backend_args={{_base_.backend_args}}),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args={{_base_.backend_args}}),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="LoadPanopticSegments", backend_args={{_base_.backend_args}}),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type="PanopticQuality")
test_evaluator = val_evaluator
