# (ours) ScalableViT-S, fine-tuned on folders of classes: DATA_ROOT/{train,val}/CLASS/*.jpg.
_base_ = ["mmpretrain::_base_/default_runtime.py", "../../_base_/finetune.py"]
custom_imports = dict(
    imports=["mmscalablevit", "mmscalablevit.runner.layer_decay"], allow_failed_imports=False
)

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ClsDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type="ScalableViT",
        arch="small",
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained", checkpoint="checkpoints/scalablevit-s_in1k.pth", prefix="backbone."
        ),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        in_channels=512,
        topk=1,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, crop_ratio_range=(0.4, 1.0)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.2, backend="pillow"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=256, edge="short"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(type="CustomDataset", data_prefix="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(type="CustomDataset", data_prefix="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=1)
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1, save_best="auto"))
