# Class attention with the labels of the images alone, also at every position of the last map.
_base_ = "../_base_/lvt-ca_in1k.py"
