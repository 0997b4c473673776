"""Learning rates of resumed trainings, beside the formula of the schedule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from mmscalablevit.errors import UsageError

from .toy_run import build_run


class _Rates(Hook):
    """Notes the learning rate of each iteration."""

    def __init__(self) -> None:
        self.noted: list[float] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.noted.append(runner.optim_wrapper.get_lr()["lr"][0])


def rates(place: Path, length: int, schedules: list[dict], **settings: Any) -> list[float]:
    """The learning rates of a training."""
    hook = _Rates()
    build_run(place, length=length, schedulers=schedules, hooks=[hook], **settings).train()
    return hook.noted


def cosine(total: int, first: int, rate: float = 0.1) -> list[float]:
    return [rate * (1 + math.cos(math.pi * i / total)) / 2 for i in range(first, total)]


def by_iteration(epochs: int) -> list[dict]:
    return [{"type": "CosineAnnealingLR", "T_max": epochs, "convert_to_iter_based": True}]


def test_a_schedule_by_iterations_follows_the_epochs_length(tmp_path):
    assert rates(tmp_path / "a", 4, by_iteration(4)) == pytest.approx(cosine(16, 0))
    resumed = {"resume": tmp_path / "a/epoch_2.pth", "batch_size": 11}  # 2 batches, not 4
    assert rates(tmp_path / "b", 4, by_iteration(4), **resumed) == pytest.approx(cosine(8, 4))
    resumed["batch_size"] = 3  # 8 batches
    assert rates(tmp_path / "c", 4, by_iteration(4), **resumed) == pytest.approx(cosine(32, 16))


@pytest.mark.parametrize("by_epoch", [True, False])
def test_more_epochs_or_iterations_follow_the_longer_schedule(tmp_path, by_epoch):
    def schedules(length: int) -> list[dict]:
        return [{"type": "CosineAnnealingLR", "T_max": length, "by_epoch": by_epoch}]

    unit, steps = ("epoch", 4) if by_epoch else ("iter", 1)
    rates(tmp_path / "a", 4, schedules(4), by_epoch=by_epoch)
    resumed = {"resume": tmp_path / f"a/{unit}_4.pth", "by_epoch": by_epoch}
    expected = [rate for rate in cosine(8, 4) for _ in range(steps)]
    assert rates(tmp_path / "b", 8, schedules(8), **resumed) == pytest.approx(expected)


@pytest.mark.parametrize("schedules", [[], by_iteration(4)])
def test_another_learning_rate_holds_and_the_same_one_goes_on(tmp_path, schedules):
    whole = rates(tmp_path / "a", 4, schedules)
    resumed = {"resume": tmp_path / "a/epoch_2.pth"}
    assert rates(tmp_path / "b", 4, schedules, **resumed) == whole[8:]  # exactly
    lower = {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}}
    found = rates(tmp_path / "c", 4, schedules, optim=lower, **resumed)
    assert found == pytest.approx([rate / 10 for rate in whole[8:]])


def test_other_groups_of_parameters_are_told(tmp_path):
    build_run(tmp_path / "a", length=1).train()
    grouped = {"paramwise_cfg": {"bias_lr_mult": 2.0}}
    run = build_run(tmp_path / "b", length=2, optim=grouped, resume=tmp_path / "a/epoch_1.pth")
    with pytest.raises(UsageError, match="2 groups of parameters, in the checkpoint 1"):
        run.train()
