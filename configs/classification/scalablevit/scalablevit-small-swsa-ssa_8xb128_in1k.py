# Table 5(a), "SWSA & SSA": Swin's shifted windows in the place of IWSA.
# (ours) SWSA has a relative position bias, as in Swin, and each of its blocks shifts its windows by
# half their side: SSA stands where Swin has its unshifted blocks. The paper says neither.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(backbone=dict(arch=dict(_delete_=True, base="small", attentions=["SWSA", "SSA"])))
