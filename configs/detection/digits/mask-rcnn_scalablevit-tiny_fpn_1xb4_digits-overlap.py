_base_ = "./mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py"

data_root = "data/digits-overlap/detection/"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
