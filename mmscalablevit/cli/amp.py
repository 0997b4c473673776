"""Automatic mixed precision on the GPU and on the CPU, in bfloat16 and in float16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from mmengine.utils import apply_to
from torch import nn

from mmscalablevit.errors import UsageError


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Train under autocast to bfloat16, on the GPU or the CPU.

    MMEngine's ``AmpOptimWrapper`` asserts a GPU and always scales the loss. bfloat16 has the
    exponent range of float32, so small gradients do not underflow and no scaling is needed.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast, and skip gradient syncs while accumulating."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


def resolve_dtype(dtype: str) -> str:
    """Choose the data type of ``--amp``; ``'auto'`` is float16 on a GPU, bfloat16 on the CPU.

    Raises:
        UsageError: float16 is asked for without a GPU.
    """
    on_cpu = get_device() == "cpu"
    if dtype == "auto":
        return "bfloat16" if on_cpu else "float16"
    if dtype == "float16" and on_cpu:
        raise UsageError(
            "--amp float16 needs a GPU: MMEngine's autocast on the CPU takes bfloat16 only. "
            "Use --amp bfloat16"
        )
    return dtype


def train_in_mixed_precision(cfg: Config, dtype: str) -> None:
    """Switch a config to mixed-precision training, in place.

    Raises:
        UsageError: The config's optimizer wrapper is of a kind that cannot be switched.
    """
    dtype = resolve_dtype(dtype)
    wrapper = cfg.optim_wrapper
    plain = ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper")
    if wrapper.get("type", "OptimWrapper") not in plain:
        raise UsageError(
            f"--amp cannot change an optim_wrapper of type {wrapper.type}; set the precision there"
        )
    if dtype == "float16":
        wrapper.type = "AmpOptimWrapper"
        wrapper.dtype = dtype
        wrapper.setdefault("loss_scale", "dynamic")
    else:
        wrapper.type = "BFloat16OptimWrapper"
        for key in ("dtype", "loss_scale", "use_fsdp"):
            wrapper.pop(key, None)


def fit_to_device(cfg: Config) -> None:
    """Train a config that asks for MMEngine's mixed precision in bfloat16 where there is no GPU."""
    if cfg.optim_wrapper.get("type") == "AmpOptimWrapper" and get_device() == "cpu":
        message = "the config trains in half precision, which needs a GPU; here it is bfloat16"
        print_log(message, logger="current")
        train_in_mixed_precision(cfg, "bfloat16")


def test_in_mixed_precision(cfg: Config, dtype: str) -> None:
    """Switch a config to mixed-precision testing, in place."""
    dtype = resolve_dtype(dtype)
    cfg.test_cfg.fp16 = True  # MMEngine's name for autocast, whatever its data type
    if get_device() != "cpu":
        # The test loop's autocast takes torch's default data type for the GPU.
        torch.set_autocast_dtype("cuda", getattr(torch, dtype))


def keep_boxes_in_float32(model: nn.Module) -> None:
    """Let a detector compute its boxes in float32 under autocast.

    MMDetection casts box coordinates to the features' type: at 1333 pixels bfloat16 resolves 8
    pixels and float16 one, which misplaces the RoIs. And mmcv's RoIAlign and NMS have no
    bfloat16 kernels. So the RoI extractors get float32 features, and what the heads predict is
    float32 from there on; all layers with weights stay under autocast.
    """
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor

    for module in model.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda module, args: _to_float32(args))
        elif isinstance(module, (BaseDenseHead, BBoxHead, FCNMaskHead)):
            module.register_forward_hook(lambda module, args, output: _to_float32(output))


def _to_float32(data: Any) -> Any:
    """Cast the floating-point tensors in nested containers."""
    return apply_to(
        data, lambda x: torch.is_tensor(x) and x.is_floating_point(), lambda x: x.float()
    )
