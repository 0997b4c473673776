# (ours) RetinaNet, for boxes.
_base_ = ["./finetune.py", "../scalablevit/_base_/retinanet_scalablevit-s_fpn.py"]
