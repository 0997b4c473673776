# ImageNet-1K training of ScalableViT, 8 GPUs x 128 images (appendix C of the paper).
_base_ = [
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "mmpretrain::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)

model = dict(
    type="ImageClassifier",
    backbone=dict(type="ScalableViT", arch="small", drop_path_rate=0.2),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="StackedLinearClsHead",
        num_classes=1000,
        in_channels=512,
        mid_channels=[4096],
        norm_cfg=dict(type="LN", eps=1e-6),
        act_cfg=dict(type="GELU"),
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        cal_acc=False,
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.02, bias=0.0),
    ),
    train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

# The paper trains with repeated augmentation; the released script leaves it off by default.
train_dataloader = dict(batch_size=128, sampler=dict(type="RepeatAugSampler", shuffle=True))

optim_wrapper = dict(
    # half precision, as in the paper
    type="AmpOptimWrapper",
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        custom_keys={
            "peg": dict(decay_mult=0.0),
            # (ours) as in Swin; only the SWSA ablation has it
            "relative_position_bias": dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    # from 1e-6 to 1e-3
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=5, end=300),
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best="auto"))  # (ours)
