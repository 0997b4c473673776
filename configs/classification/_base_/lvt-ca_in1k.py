# ImageNet-1K training of LVT with class attention, 8 GPUs x 128 images: the released command and
# the defaults behind it. The leaves say what the labels are.
_base_ = [
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "mmpretrain::_base_/default_runtime.py",
]
custom_imports = dict(
    imports=[
        "mmscalablevit",
        "mmscalablevit.models.heads",
        "mmscalablevit.models.token_label",
        "mmscalablevit.datasets.token_labels",
        "mmscalablevit.runner.schedulers",
    ],
    allow_failed_imports=False,
)

model = dict(
    type="TokenLabelClassifier",
    # The released command asks for this drop path; the released class takes no notice of it.
    backbone=dict(type="LVT", arch="lvt", output_norms=False, drop_path_rate=0.1),
    head=dict(type="ClassAttentionHead", num_classes=1000, in_channels=256),
)
data_preprocessor = dict(type="TokenLabelDataPreprocessor", label_size=7, label_smooth_val=0.1)

# The base's steps in another order, so that the crop comes last. Of the interpolations one is drawn
# for each image and operation.
names = ["bilinear", "bicubic"]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[2], type="TokenLabelRandomFlip"),
    dict(_base_.train_pipeline[3], type="TokenLabelRandAugment", interpolation=names),
    dict(_base_.train_pipeline[1], type="TokenLabelRandomResizedCrop", interpolation=names),
    _base_.train_pipeline[4],
    dict(type="PackInputs", algorithm_keys=("gt_score_map", "gt_crop_box")),
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(_base_.test_pipeline[1], scale=233),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(batch_size=128, drop_last=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(lr=1.6e-3),
    paramwise_cfg=dict(custom_keys={"cls_token": dict(decay_mult=0.0)}),
)
param_scheduler = [dict(type="WarmupCosineLR", warmup=20, T_max=300, start=1e-6, eta_min=1e-5)]
train_cfg = dict(max_epochs=310)
# Each process draws boxes of its own for the mixing of tokens.
randomness = dict(seed=42, diff_rank_seed=True)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best="auto"))  # (ours)
