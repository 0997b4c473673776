# Fine-tuning of STViT at 384x384, from the weights that were trained at 224x224. Epochs, learning
# rate and weight decay are the authors'.
_base_ = "./stvit_in1k.py"

# (ours) the pipelines of 224x224, at the larger size and with the same part of the image tested
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], scale=384),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(_base_.test_pipeline[1], scale=438),
    dict(type="CenterCrop", crop_size=384),
    _base_.test_pipeline[-1],
]
train_dataloader = dict(
    batch_size=64,  # (ours)
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [
    # (ours) warm-up and cosine in the proportions of 224x224
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=5e-8, by_epoch=True, begin=5, end=30),
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=512)

load_from = "checkpoints/stvit-s_in1k.pth"
