_base_ = "../_base_/stvit_in1k-384px.py"
