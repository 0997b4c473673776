# COCO panoptic, training images of several sizes: short side 640 to 800, long side at most 1333
_base_ = "./coco_panoptic.py"

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
