# COCO boxes and masks, training images of several sizes: short side 480 to 800, long side at
# most 1333
_base_ = "mmdet::_base_/datasets/coco_instance.py"

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args={{_base_.backend_args}}),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="RandomChoiceResize",
        scales=[(1333, side) for side in range(480, 801, 32)],  # (ours) steps of 32, as in Swin
        keep_ratio=True,
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
