# Table 5(a), "SSA & IWSA": the model with its two attentions swapped.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(backbone=dict(arch=dict(_delete_=True, base="small", attentions=["SSA", "IWSA"])))
