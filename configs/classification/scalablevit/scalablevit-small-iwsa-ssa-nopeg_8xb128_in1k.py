# Table 5(b), LIM alone: the model without PEG.
# (ours) Which row has which module is told from the differences that section 4.4 names.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(
    backbone=dict(arch=dict(_delete_=True, base="small", attentions=["IWSA", "SSA"], peg=False))
)
