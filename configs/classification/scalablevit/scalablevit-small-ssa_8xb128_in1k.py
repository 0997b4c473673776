# Table 5(a), "SSA": in every block.
# (ours) PEG as in the model: the paper does not say whether these rows have it.
_base_ = ["./scalablevit-small_8xb128_in1k.py", "../../_base_/scalablevit-small.py"]

model = dict(backbone=dict(arch=dict(_base_.arch, _delete_=True, attentions=["SSA"])))
