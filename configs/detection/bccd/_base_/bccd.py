# BCCD, microscope photographs of blood cells in Pascal VOC's layout
# (github.com/Shenggan/BCCD_Dataset, its folder BCCD). All settings are (ours).
data_root = "data/bccd"
metainfo = dict(
    classes=("RBC", "WBC", "Platelets"), palette=[(220, 20, 60), (65, 105, 225), (255, 215, 0)]
)

# Under a microscope nothing is up or down, left or right. Crops are whole: from scratch, the zeros
# of padding would spoil the first gradients.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(512, 384), ratio_range=(1.0, 1.3), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(384, 512)),
    dict(type="RandomFlip", prob=3 * [0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion", hue_delta=9),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(512, 384), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
dataset = dict(
    type="VOCDataset",
    data_root=data_root,
    data_prefix=dict(sub_data_root=""),
    metainfo=metainfo,
)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **dataset,
        ann_file="ImageSets/Main/trainval.txt",
        filter_cfg=dict(bbox_min_size=4),  # there are boxes without width
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **dataset,
        ann_file="ImageSets/Main/test.txt",
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="VOCMetric", metric="mAP", eval_mode="area")
test_evaluator = val_evaluator
