"""The head against the released models' logits is tested with the classification configs."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from mmscalablevit.models.heads import ConvClsHead


@pytest.fixture(autouse=True)
def _in_mmpretrain():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def test_equals_its_formula():
    head = MODELS.build({"type": "ConvClsHead", "num_classes": 5, "in_channels": 8}).eval()
    assert isinstance(head, ConvClsHead)
    conv, bn = head.conv.conv, head.conv.bn
    nn.init.uniform_(bn.running_mean)
    nn.init.uniform_(bn.running_var, 0.5, 2)
    x = torch.randn(2, 8, 3, 4)
    with torch.no_grad():
        hidden = torch.einsum("bchw,oc->bohw", x, conv.weight[:, :, 0, 0])
        hidden = hidden + conv.bias[:, None, None]
        scale = bn.weight / torch.sqrt(bn.running_var + 1e-5)
        hidden = (hidden - bn.running_mean[:, None, None]) * scale[:, None, None]
        hidden = hidden + bn.bias[:, None, None]
        pooled = (hidden / (1 + torch.exp(-hidden))).mean(dim=(2, 3))
        assert pooled.shape == (2, 1024)
        expected = pooled @ head.fc.weight.T + head.fc.bias
        torch.testing.assert_close(head((torch.zeros(2, 3, 9, 9), x)), expected)


def test_initialisation_is_the_released_one():
    head = ConvClsHead(100, 64)
    head.init_weights()
    assert head.fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head.fc.bias.any()


def test_a_mistyped_argument_is_refused():
    with pytest.raises(TypeError, match="mid_channel"):
        ConvClsHead(10, 8, mid_channel=16)
