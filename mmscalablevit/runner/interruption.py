"""Ending a training in order: on SIGTERM, and when the loss is no number any more."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmscalablevit.errors import UsageError, listed
from mmscalablevit.runner.checkpointing import SafeCheckpointHook
from mmscalablevit.runner.termination import Termination

# Float16 training leaves out a step whose gradients overflow; some in a row are normal.
_PATIENCE_FLOAT16 = 20


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Save and end on SIGTERM; end where the loss is infinite or not a number.

    All processes end after the same iteration: they exchange two numbers after each.
    """

    priority = "LOWEST"  # after the checkpoint of the iteration, if one is due

    def __init__(self) -> None:
        self.termination = Termination()
        self._bad_losses = 0

    def before_train(self, runner: Runner) -> None:
        """Wait for SIGTERM."""
        self.termination.start()

    def after_train(self, runner: Runner) -> None:
        """Wait no longer."""
        self.termination.stop()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the loss and for signals.

        Raises:
            UsageError: The loss is infinite or not a number.
            SystemExit: The training was interrupted and has been saved.
        """
        loss = _number(outputs["loss"]) if outputs and "loss" in outputs else 0.0
        self._bad_losses = 0 if math.isfinite(loss) else self._bad_losses + 1
        float16 = isinstance(runner.optim_wrapper, AmpOptimWrapper)
        diverged = self._bad_losses >= (_PATIENCE_FLOAT16 if float16 else 1)
        agreed = torch.tensor([int(diverged), int(self.termination.noted)])
        if get_world_size() > 1:
            all_reduce(agreed, "max")
        if agreed[0]:
            raise UsageError(_explain(runner, loss, outputs or {}, data_batch))
        # A checkpoint does not hold gradients that are being accumulated.
        wrapper = runner.optim_wrapper
        if agreed[1] and (not isinstance(wrapper, OptimWrapper) or wrapper.should_update()):
            self._end(runner, in_validation=False)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look for signals.

        Raises:
            SystemExit: The training was interrupted and has been saved.
        """
        # Nothing is exchanged here: processes may have different numbers of batches.
        if self.termination.noted:
            self._end(runner, in_validation=True)

    def _end(self, runner: Runner, in_validation: bool) -> NoReturn:
        """Save and exit."""
        hook = checkpoint_hook(runner)
        saved = hook.save_interrupted(runner, in_validation) if hook else None
        runner.logger.warning(
            f"SIGTERM: training ends after iteration {runner.iter + (not in_validation)}, "
            f"{f'saved as {saved}' if saved else 'nothing was saved'}; go on with --resume auto"
        )
        self.termination.end()


def _number(value: Any) -> float:
    return float(value.detach() if torch.is_tensor(value) else value)


def checkpoint_hook(runner: Runner) -> SafeCheckpointHook | None:
    """Find the hook that writes a run's checkpoints."""
    return next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)


def _explain(runner: Runner, loss: float, outputs: Mapping[str, Any], data_batch: Any) -> str:
    """Say what is known of a loss that is no number, and what to look at."""
    place = f"iteration {runner.iter + 1} (epoch {runner.epoch + 1})"
    if math.isfinite(loss):
        return f"the loss of another process is not finite at {place}; look at its message"
    parts = {
        name: _number(value)
        for name, value in outputs.items()
        if name != "loss" and (not torch.is_tensor(value) or value.numel() == 1)
    }
    parts_text = "".join(f", {name} {value:.4g}" for name, value in parts.items())
    rates = runner.optim_wrapper.get_lr()
    rate = max(max(values) for values in rates.values())
    lines = [
        f"the loss is {loss} at {place}{parts_text}",
        f"the learning rate ({rate:.3g}): too high for this batch size, or no warm-up?",
        "optim_wrapper.clip_grad: gradients that are not clipped",
        "--amp: does it also happen with --amp bfloat16, or without?",
    ]
    samples = data_batch.get("data_samples") if isinstance(data_batch, dict) else None
    paths = [
        os.fspath(sample.get("img_path"))
        for sample in (samples if isinstance(samples, Sequence) else ())
        if hasattr(sample, "get") and sample.get("img_path")
    ]
    if paths:
        lines.append(f"the images of this batch: {listed(paths, 3)}")
    hook = checkpoint_hook(runner)
    last = hook.last_good if hook else None
    lines.append(
        f"the last good checkpoint, {last}: go on from it with --resume {last}"
        if last
        else "there is no checkpoint yet: start again"
    )
    return "\n  look at ".join(lines[:-1]) + f"\n  {lines[-1]}"
