"""Models without values: shapes are all that a count needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn
from torch.overrides import TorchFunctionMode

from mmscalablevit.cli.building import build_model


class _ScalarsOnCPU(TorchFunctionMode):
    """Keep what constructors read single numbers from on the CPU, away from the meta device.

    The rates of stochastic depth are the only such numbers: entries of a ``linspace``.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def build_on_meta(model: Mapping[str, Any], scope: str) -> nn.Module:
    """Build a model of MMPretrain, MMDetection or MMSegmentation on PyTorch's meta device.

    Args:
        model: The model's settings, as in a config.
        scope: ``'mmpretrain'``, ``'mmdet'`` or ``'mmseg'``.
    """
    settings = dict(model)
    if scope == "mmpretrain":  # its preprocessor of images would report on the batch augmentation
        settings.update(data_preprocessor=None, train_cfg=None)
    cfg = Config({"model": settings, "default_scope": scope})
    with (
        DefaultScope.overwrite_default_scope(scope),  # the next model may be of another framework
        torch.device("meta"),
        _ScalarsOnCPU(),
        warnings.catch_warnings(),
    ):
        # MMSegmentation has remarks on losses, which nobody runs here.
        warnings.simplefilter("ignore", UserWarning)
        return build_model(cfg, pretrained=False, initialize=False)
