# 12 epochs, learning rate / 10 after 8 and 11, warm-up over 500 iterations
_base_ = [
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, weight_decay=1e-4),
)
# 8 GPUs with 2 images each
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))  # (ours)
