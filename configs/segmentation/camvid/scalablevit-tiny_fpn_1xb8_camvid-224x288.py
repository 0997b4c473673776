_base_ = [
    "./_base_/fpn_scalablevit-tiny.py",
    "./_base_/camvid.py",
    "./_base_/schedule.py",
]
custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.runner.optimizers"])
