# (ours) Detectors fine-tuned on few images with boxes in COCO's JSON: DATA_ROOT/{train,val}/*.jpg
# and {train,val}.json. The bases beside this one add a model.
_base_ = ["mmdet::_base_/default_runtime.py", "../../_base_/finetune.py"]
custom_imports = dict(
    imports=["mmscalablevit", "mmscalablevit.runner.layer_decay"], allow_failed_imports=False
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(1000, 600), ratio_range=(0.75, 1.25), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(1000, 600), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type="CocoDataset",
        ann_file="train.json",
        data_prefix=dict(img="train"),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type="CocoDataset",
        ann_file="val.json",
        data_prefix=dict(img="val"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", metric="bbox")
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1, save_best="auto"))
