# 12 epochs on 8 GPUs with 8 images each, learning rate / 10 after 8 and 11
_base_ = [
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=3e-4, weight_decay=1e-4),
)
auto_scale_lr = dict(base_batch_size=64)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))  # (ours)
