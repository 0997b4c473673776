"""Optimizers that MMEngine does not have.

A config names them beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.runner.optimizers"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.AdamW):
    """AdamW, whose steps of matrices are Muon's: momentum, made orthogonal.

    All singular values of such a step are about 1, so that small directions of the gradient count
    as much as large ones: far fewer steps are needed from scratch (`Muon
    <https://kellerjordan.github.io/posts/muon/>`_). Scaled to the usual size of AdamW's steps, they
    share its learning rate and weight decay (`Liu et al. <https://arxiv.org/abs/2502.16982>`_).

    Args:
        params: Parameters or groups. Muon steps are for those of two dimensions.
        lr: Learning rate.
        momentum: Of the matrices' gradients.
        kwargs: AdamW's own settings.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.95, **kwargs: Any
    ) -> None:
        super().__init__(params, lr, **kwargs)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, of what ``closure`` computes if it is given."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim == 2 and weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    scale = 0.2 * max(weight.shape) ** 0.5
                    weight.add_(self._direction(weight, weight.grad), alpha=-group["lr"] * scale)
                    weight.grad = None  # AdamW passes over what has none
        super().step()
        return loss

    def _direction(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """The direction of a matrix's step, with Nesterov's momentum."""
        state = self.state[weight]
        if not state:
            # AdamW looks for its count of steps when a state is loaded.
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))
        state["momentum"].lerp_(gradient, 1 - self.momentum)
        return orthogonalize(gradient.lerp(state["momentum"], self.momentum))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near 1, by five Newton-Schulz steps in bfloat16."""
    x = matrix.bfloat16()
    x = x / x.norm().clamp(min=1e-7)
    if matrix.shape[0] > matrix.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
