# Token labels, as the published model. The maps are the authors', or tools/make_token_labels.py's.
_base_ = "../_base_/lvt-ca_in1k.py"

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type="LoadTokenLabels", label_root="data/imagenet/label_top5_train_nfnet"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
