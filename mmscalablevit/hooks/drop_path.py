"""Stochastic depth that changes while a model trains."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmscalablevit.models.pyramid import PyramidBackbone
from mmscalablevit.models.wrappers import bare_model


@HOOKS.register_module()
class DropPathHook(Hook):
    """Give the backbone another drop path rate from an epoch on.

    Args:
        rate: The rate of the last block; it grows linearly from 0.
        begin: The first epoch with this rate, from 0. A run resumed later has it too.
    """

    def __init__(self, rate: float, begin: int) -> None:
        self.rate = rate
        self.begin = begin

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the rate once it is due."""
        if runner.epoch >= self.begin:
            backbone = bare_model(runner.model).get_submodule("backbone")
            assert isinstance(backbone, PyramidBackbone)
            backbone.set_drop_path_rate(self.rate)
