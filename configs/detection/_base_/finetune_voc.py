# (ours) RetinaNet, for boxes in Pascal VOC's layout: DATA_ROOT/JPEGImages/*.jpg, Annotations/*.xml,
# and ImageSets/Main/{train,val}.txt with the names of the images.
_base_ = ["./finetune.py", "../scalablevit/_base_/retinanet_scalablevit-s_fpn.py"]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="VOCDataset",
        ann_file="ImageSets/Main/train.txt",
        data_prefix=dict(sub_data_root=""),
        filter_cfg=dict(filter_empty_gt=True, bbox_min_size=2),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="VOCDataset",
        ann_file="ImageSets/Main/val.txt",
        data_prefix=dict(sub_data_root=""),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="VOCMetric", metric="mAP", eval_mode="area")
test_evaluator = val_evaluator
