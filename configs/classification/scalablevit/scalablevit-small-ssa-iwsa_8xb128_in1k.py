# Table 5(a), "SSA & IWSA": the model with its two attentions swapped.
_base_ = ["./scalablevit-small_8xb128_in1k.py", "../../_base_/scalablevit-small.py"]

model = dict(backbone=dict(arch=dict(_base_.arch, _delete_=True, attentions=["SSA", "IWSA"])))
