# Table 5(a), "IWSA": in every block.
# (ours) PEG as in the model: the paper does not say whether these rows have it.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(backbone=dict(arch=dict(_delete_=True, base="small", attentions=["IWSA"])))
