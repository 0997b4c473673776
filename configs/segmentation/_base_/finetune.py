# (ours) Semantic FPN with ScalableViT-S, fine-tuned on label maps: DATA_ROOT/images/{train,val}/
# *.jpg and labels/{train,val}/*.png, which hold the number of a class for each pixel, 255 for none.
_base_ = [
    "../scalablevit/_base_/default_runtime.py",
    "../scalablevit/_base_/fpn_scalablevit-s.py",
    "../../_base_/finetune.py",
]
custom_imports = dict(
    imports=["mmscalablevit", "mmscalablevit.runner.layer_decay"], allow_failed_imports=False
)

model = dict(decode_head=dict(norm_cfg=dict(type="BN"), loss_decode=dict(avg_non_ignore=True)))

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 512), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type="BaseSegDataset",
        data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type="BaseSegDataset",
        data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=8)
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=1, save_best="mIoU"),
)
