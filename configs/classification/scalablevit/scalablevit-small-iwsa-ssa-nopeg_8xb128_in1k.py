# Table 5(b), LIM alone: the model without PEG.
# (ours) Which row has which module is told from the differences that section 4.4 names.
_base_ = ["./scalablevit-small_8xb128_in1k.py", "../../_base_/scalablevit-small.py"]

model = dict(
    backbone=dict(arch=dict(_base_.arch, _delete_=True, attentions=["IWSA", "SSA"], peg=False))
)
