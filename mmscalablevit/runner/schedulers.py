"""Learning rate schedules that MMEngine does not have.

A config names them beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.runner.schedulers"])
"""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Linear warm-up, then a cosine that began with the warm-up; afterwards its end, timm's way.

    ``CosineAnnealingLR(begin=...)`` after a warm-up begins its half wave when that is over, which
    gives up to a seventh more in between.

    Args:
        optimizer: The optimizer.
        warmup: Steps of the warm-up.
        T_max: Steps of the half wave, those of the warm-up included.
        start: Learning rate of the first step.
        eta_min: Learning rate at the end of the half wave, and from there on.
        settings: What all of MMEngine's schedulers take: ``begin``, ``end``, ``by_epoch``, ...

    Raises:
        ValueError: The warm-up is longer than the half wave.
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: int,
        T_max: int,
        start: float = 1e-6,
        eta_min: float = 0.0,
        **settings: Any,
    ) -> None:
        if not 0 <= warmup <= T_max:
            raise ValueError(f"WarmupCosineLR: warmup {warmup} lies outside 0 to T_max {T_max}")
        self.warmup = warmup
        self.T_max = T_max
        self.start = start
        self.eta_min = eta_min
        super().__init__(optimizer, "lr", **settings)

    def _get_value(self) -> list[float]:
        """Learning rates of the parameter groups at the present step."""
        step = self.last_step
        if step < self.warmup:
            return [
                self.start + step * (base - self.start) / self.warmup for base in self.base_values
            ]
        wave = (1 + math.cos(math.pi * min(step, self.T_max) / self.T_max)) / 2
        return [self.eta_min + wave * (base - self.eta_min) for base in self.base_values]
