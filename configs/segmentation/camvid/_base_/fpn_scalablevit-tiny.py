# Semantic FPN with a narrow head, for 11 classes and void. All settings are (ours).
_base_ = "../../digits/_base_/fpn_scalablevit-tiny.py"

model = dict(
    data_preprocessor=dict(size=(224, 288), size_divisor=None, seg_pad_val=11),
    decode_head=dict(
        channels=128,
        ignore_index=11,
        # MMSegmentation's loss takes no class weights where pixels are ignored.
        loss_decode=dict(class_weight=None, avg_non_ignore=True),
    ),
)
