_base_ = "../_base_/stvit_in1k.py"
