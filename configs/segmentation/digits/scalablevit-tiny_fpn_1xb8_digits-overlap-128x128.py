_base_ = "./scalablevit-tiny_fpn_1xb8_digits-128x128.py"

data_root = "data/digits-overlap/segmentation"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
