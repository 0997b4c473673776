_base_ = "../_base_/scalablevit_in1k.py"
