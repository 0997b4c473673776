# The labels of the images alone, also at every position of the last map.
_base_ = ["../_base_/cifar10-96px.py", "../../_base_/lvt-tiny-ca.py"]

model = _base_.pop("classifier")
data_preprocessor = dict(type="TokenLabelDataPreprocessor", label_size=3)
