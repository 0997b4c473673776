"""Parameters and multiply-accumulates of a classifier, a detector or a segmentor.

Nothing is computed: the model runs on PyTorch's meta device, where tensors have shapes and no
values, so that the largest model at the largest size takes seconds and hardly any memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakTensorKeyDictionary

ATTENTION = "scaled_dot_product_attention"
# What multiplies one activation with another, rather than with a weight.
ACTIVATION_PRODUCTS = (ATTENTION, "bmm", "baddbmm")

# RoIs that MMDetection's own counter sends through the box head and the mask head of a
# two-stage detector; the published figures rest on them.
BOX_ROIS = 1000
MASK_ROIS = 100


@dataclass(frozen=True)
class Complexity:
    """Counts of a model at one input size, for one image.

    Multiply-accumulates are by operator, under PyTorch's names: ``convolution``, ``addmm`` and
    ``mm`` (linear layers), ``bmm`` and ``baddbmm`` (products of two activations),
    ``scaled_dot_product_attention``. Norms, activations, biases, pooling and interpolation count
    nothing.
    """

    parameters: int  # those that only training uses included
    macs: Mapping[str, int]

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates, everything counted."""
        return sum(self.macs.values())

    @property
    def paper_macs(self) -> int:
        """Multiply-accumulates by the convention of ScalableViT's tables.

        Attention's two products, q k^T and the one with v, are left out: a counter of layers does
        not see them. What a map's zeros on the way to whole windows cost in qkv is counted. The
        paper says neither. With both its figures for detection and segmentation come out to
        0.25 % for the base and large models; without the second they are up to 1.9 % higher.
        """
        products = sum(self.macs.get(name, 0) for name in ACTIVATION_PRODUCTS)
        return self.total_macs - products


class _AttentionCounter(TorchFunctionMode):
    """Counts attention by what a model asks for, not by the kernels that a device has for it.

    :class:`FlopCounterMode` sees kernels: on a CPU none at all for fused attention, and
    columns of zeros as if they were values. Columns that :func:`torch.nn.functional.pad` added
    to q, k or v, because a kernel wants one width, are no products of the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self._widths = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.pad:
            return self._pad(*args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, *_args: Any, **_kwargs: Any
    ) -> Tensor:
        width = self._width(query) + self._width(value)
        # query.shape[:-1] is (B, heads, N): each of these queries meets every key.
        self.macs += query.shape[:-1].numel() * key.shape[-2] * width
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    def _pad(self, input: Tensor, pad: list[int], *args: Any, **kwargs: Any) -> Tensor:
        out = F.pad(input, pad, *args, **kwargs)
        if len(pad) == 2:  # the last axis alone
            self._widths[out] = input.shape[-1]
        return out

    def _width(self, x: Tensor) -> int:
        return self._widths.get(x, x.shape[-1])


class _TwoStage(nn.Module):
    """The layers of a two-stage detector, without what shapes alone cannot tell: its proposals.

    The heads take a fixed number of RoIs; RoIAlign itself counts nothing.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector: Any = detector  # its parts are MMDetection's, which has no types

    def forward(self, images: Tensor) -> None:
        """Run backbone, neck, RPN, RoI heads and, where there is one, the semantic head."""
        features = self.detector.extract_feat(images)
        self.detector.rpn_head(features)
        if getattr(self.detector, "semantic_head", None) is not None:  # of Panoptic FPN
            self.detector.semantic_head(features)
        roi_head = self.detector.roi_head
        self._run(roi_head.bbox_head, roi_head.bbox_roi_extractor, images, BOX_ROIS)
        if roi_head.with_mask:
            extractor = roi_head.mask_roi_extractor or roi_head.bbox_roi_extractor
            self._run(roi_head.mask_head, extractor, images, MASK_ROIS)

    @staticmethod
    def _run(head: Any, extractor: Any, images: Tensor, rois: int) -> None:
        # A cascade has a list of heads and of extractors, others have one of each.
        heads = head if isinstance(head, nn.ModuleList) else [head]
        extractors = extractor if isinstance(extractor, nn.ModuleList) else [extractor]
        for one_head, one_extractor in zip(heads, extractors, strict=True):
            size = one_extractor.roi_layers[0].output_size
            one_head(images.new_empty(rois, one_extractor.out_channels, *size))


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; one that several modules share counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_complexity(model: nn.Module, size: tuple[int, int], in_channels: int = 3) -> Complexity:
    """Count a model's parameters, and its multiply-accumulates for one image.

    The model is left as it was. It may be a bare backbone, or any model of MMPretrain,
    MMDetection or MMSegmentation, of which counts what its ``forward`` in tensor mode runs: of a
    segmentor not the auxiliary head, which only training uses. A two-stage detector's box head
    runs on 1000 RoIs and its mask head on 100, as in MMDetection's counter.

    Args:
        model: The model, on any device.
        size: Height and width of the image.
        in_channels: Channels of the image.
    """
    images = torch.empty(1, in_channels, *size, device="meta")
    two_stage = hasattr(model, "rpn_head") and hasattr(model, "roi_head")
    runnable = _TwoStage(model) if two_stage else model
    # As trainable parameters, frozen ones too: PyTorch runs a linear layer on a map as a batched
    # product, not as one of matrices, where neither side takes a gradient.
    state: dict[str, Tensor] = {
        name: nn.Parameter(torch.empty_like(parameter, device="meta"))
        for name, parameter in runnable.named_parameters()
    }
    state |= {name: buffer.to("meta") for name, buffer in runnable.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    kernels = FlopCounterMode(display=False)
    attention = _AttentionCounter()
    try:
        with torch.no_grad(), kernels, attention:
            functional_call(runnable, state, (images,))
    finally:
        for module, training in modes.items():
            module.training = training
    # It counts a multiplication and an addition as two.
    macs = {
        str(operator).rpartition(".")[2]: flops // 2
        for operator, flops in kernels.get_flop_counts().get("Global", {}).items()
    }
    macs[ATTENTION] = attention.macs
    return Complexity(count_parameters(model), macs)
