# Table 5(a), "SSA (r_c=1)": in every block, queries and keys as wide as the map.
# (ours) PEG as in the model: the paper does not say whether these rows have it.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base="small", attentions=["SSA"], channel_ratios=[1, 1, 1, 1])
    )
)
