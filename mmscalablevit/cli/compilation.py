"""Compiling the backbone of a model: ``--compile``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmscalablevit.errors import UsageError
from mmscalablevit.models.wrappers import bare_model


def compile_backbone(model: nn.Module, *, inference: bool = False) -> None:
    """Compile the backbone of a built model, in place.

    Only the backbone: the dense heads branch on the data (numbers of boxes, of positives), and
    each such place is a graph break or a recompilation. MMEngine's ``compile`` setting takes the
    whole training step and leaves the test alone. Compiling the module in place keeps the names
    in its state dict, and works under DDP, EMA and test-time augmentation alike.

    Each image size is compiled for itself, up to PyTorch's limit of eight; further sizes run
    uncompiled. Batches of another number are compiled for themselves too, but for inference on
    the CPU, where one compilation serves all from two images on.

    Args:
        model: The model, bare or wrapped for several processes.
        inference: The weights never change again in this process. On the CPU they then become
            constants of all that it compiles, packed once for its matrix products.

    Raises:
        UsageError: The model has no backbone.
    """
    backbone = getattr(bare_model(model), "backbone", None)
    if backbone is None:
        raise UsageError("--compile compiles the backbone, and this model has none")
    # Symbolic heights and widths make the traces of windows and borders explode.
    backbone.compile(dynamic=False)
    if inference and not any(weight.is_cuda for weight in backbone.parameters()):
        from torch._inductor import config  # here, since it takes seconds

        # As an option of `compile` it would come too late: tracing looks at the setting too.
        config.freezing = True
        _free_batch(backbone)


def _free_batch(backbone: nn.Module) -> None:
    """Let the number of images be any in what is compiled for them.

    Then, and only then, Inductor leaves linear layers in float32 to oneDNN, which adds the bias and
    applies GELU as it writes; for a fixed number it takes MKL's packed product and passes over the
    memory once more for each.
    """
    compiled: Any = backbone._compiled_call_impl

    def call(images: Tensor) -> Any:
        torch._dynamo.maybe_mark_dynamic(images, 0)
        return compiled(images)

    # A hook would be compiled itself, and another `forward` would stay with the weights of this
    # module when it is copied. PyTorch leaves this attribute out of copies, which are not compiled.
    backbone._compiled_call_impl = call
