# Label maps by the ScalableViT beside, from tools/make_token_labels.py.
_base_ = "./lvt-tiny-ca_1xb64_digits-96px.py"

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type="LoadTokenLabels", label_root="data/digits/classification/labels"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
