"""A resumed training follows the config's learning rate, not the one that its checkpoint planned.

MMEngine loads the schedules as they were: made for epochs of another length, or for another number
of them, they would end too early or start anew, and a changed learning rate would be forgotten.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler
from mmengine.runner import Runner

from mmscalablevit.errors import UsageError


def follow_config(runner: Runner, checkpoint: dict[str, Any], epochs: int, rest: int) -> None:
    """Let schedules and optimizer go on as the config says, where it is not the checkpoint's.

    To be called before they are loaded. Schedules that look at metrics stay as they were.

    Args:
        runner: The run; its optimizer and its schedules are at their beginning.
        checkpoint: The checkpoint to resume, which is changed in place.
        epochs: Epochs that are over.
        rest: Iterations after these, in the run's own batches.

    Raises:
        UsageError: The optimizer has other groups of parameters.
    """
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    if not isinstance(wrapper, OptimWrapper) or "optimizer" not in checkpoint:
        return
    groups, saved_groups = wrapper.optimizer.param_groups, checkpoint["optimizer"]["param_groups"]
    if len(groups) != len(saved_groups):
        raise UsageError(
            f"--resume: the optimizer has {len(groups)} groups of parameters, in the checkpoint"
            f" {len(saved_groups)}: optim_wrapper.paramwise_cfg is another one\n"
            "  take the one of before, or start from the weights alone: --cfg-options load_from=..."
        )
    if any(isinstance(scheduler, ReduceOnPlateauParamScheduler) for scheduler in schedulers):
        return
    planned = [_plan(scheduler.state_dict()) for scheduler in schedulers]
    before = [_plan(state) for state in checkpoint.get("param_schedulers") or []]
    scheduled = {scheduler.param_name for scheduler in schedulers}
    if planned == before and all(map(_is_same, groups, saved_groups, [scheduled] * len(groups))):
        return
    _replay(schedulers, epochs, len(runner.train_dataloader) if epochs else 0, rest)
    checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]
    for group, saved in zip(groups, saved_groups, strict=True):
        saved.update({name: value for name, value in group.items() if name != "params"})
    runner.logger.warning(
        "--resume: the checkpoint's schedules or settings of the optimizer are others; they go on"
        f" as the config has them after {epochs} epochs and {rest} iterations, with a learning rate"
        f" of {groups[0]['lr']:.4g}"
    )


def _plan(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a schedule's state says of its course, without how far it is."""
    progress = ("last_step", "verbose")
    return {
        name: value
        for name, value in state.items()
        if not name.startswith("_") and name not in progress
    }


def _is_same(group: Mapping[str, Any], saved: Mapping[str, Any], scheduled: set[str]) -> bool:
    """Tell whether the settings that no schedule changes are equal; later versions have more."""
    changing = {"params", *scheduled, *(("betas",) if "momentum" in scheduled else ())}
    fixed = [name for name in group if name in saved and name not in changing]
    return all(group[name] == saved[name] for name in fixed)


def _replay(schedulers: Iterable[Any], epochs: int, length: int, rest: int) -> None:
    """Step through what is over, as MMEngine's hook does while training."""
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer has stepped
        for epoch in range(epochs + 1):
            for _ in range(length if epoch < epochs else rest):
                for scheduler in by_iteration:
                    scheduler.step()
            for scheduler in by_epoch if epoch < epochs else ():
                scheduler.step()
