from types import SimpleNamespace

import pytest
from torch import nn

from mmscalablevit import STViT
from mmscalablevit.hooks.drop_path import DropPathHook
from tests.models.families import FAMILIES


def test_the_rate_changes_at_its_epoch_and_stays():
    backbone = STViT(FAMILIES["stvit"].tiny_arch, drop_path_rate=0.4)
    model = nn.Module()
    model.backbone = backbone
    runner = SimpleNamespace(model=model, epoch=0)
    hook = DropPathHook(rate=0.6, begin=260)
    rates = {}
    for runner.epoch in (0, 259, 260, 299):
        hook.before_train_epoch(runner)
        blocks = [block for stage in backbone.stages for block in stage.blocks]
        rates[runner.epoch] = [block.drop_path.drop_prob for block in blocks]
    for epoch, last in ((0, 0.4), (259, 0.4), (260, 0.6), (299, 0.6)):
        assert rates[epoch] == pytest.approx([last * i / 6 for i in range(7)])
