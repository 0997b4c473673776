# Tables 5(b) and 7, PEG and LEM: LIM's convolution within each window.
# (ours) Which row of 5(b) has which module is told from the differences that section 4.4 names.
_base_ = "./scalablevit-small_8xb128_in1k.py"

model = dict(
    backbone=dict(arch=dict(_delete_=True, base="small", attentions=["WSAWithLEM", "SSA"]))
)
