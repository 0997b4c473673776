from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmscalablevit.errors import UsageError
from mmscalablevit.runner.resume import find_checkpoint
from mmscalablevit.runner.termination import EXIT_CODE

from .toy_run import build_run


class Terminate(Hook):
    """Sends SIGTERM to this process, perhaps several times, at one moment of a run."""

    def __init__(self, iteration: int = -1, validation: int = -1, times: int = 1) -> None:
        self.iteration, self.validation, self.times = iteration, validation, times

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGTERM)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.validation and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupt(work_dir: Path, hook: Hook, **settings) -> str:
    run = build_run(work_dir, hooks=[hook], **settings)
    with pytest.raises(SystemExit) as stop:
        run.train()
    assert stop.value.code == EXIT_CODE == 143
    return Path(find_checkpoint(work_dir).path).name


def test_a_second_signal_does_not_keep_it_from_saving(tmp_path):
    assert interrupt(tmp_path, Terminate(5, times=3)) == "epoch_1_iter_6.pth"


@pytest.mark.parametrize("by_epoch", [True, False])
def test_workers_survive_sigterm_from_their_first_moment_on(tmp_path, monkeypatch, by_epoch):
    """Slurm signals them too; each signals itself here as soon as it is there."""
    fork = os.fork

    def fork_and_signal() -> int:
        if (child := fork()) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_and_signal)
    run = build_run(tmp_path, by_epoch, length=2 if by_epoch else 8, workers=2)
    run.train()
    assert len(run.model.seen) == 8


EMA = {"type": "EMAHook", "momentum": 0.1}


@pytest.mark.parametrize(
    ("by_epoch", "iteration", "name", "workers"),
    [
        (True, 9, "epoch_2_iter_10.pth", 2),
        (True, 0, "epoch_0_iter_1.pth", 0),
        (True, 11, "epoch_2_iter_12.pth", 0),  # the last one of an epoch
        (False, 9, "iter_10.pth", 2),
        (False, 11, "iter_12.pth", 0),  # which is saved in any case
    ],
)
def test_sigterm_saves_what_goes_on_exactly(tmp_path, by_epoch, iteration, name, workers):
    settings = {
        "by_epoch": by_epoch, "length": 6 if by_epoch else 24, "workers": workers,
        "interval": 1 if by_epoch else 3, "max_keep_ckpts": 2,
    }  # fmt: skip
    whole = build_run(tmp_path / "whole", hooks=[EMA], **settings)
    whole.train()
    work = tmp_path / "work"
    run = build_run(work, hooks=[EMA, Terminate(iteration)], **settings)
    with pytest.raises(SystemExit):
        run.train()
    found = find_checkpoint(work).path
    assert Path(found).name == name
    rest = build_run(work, hooks=[EMA], resume=found, **settings)
    rest.train()
    assert rest.model.seen == whole.model.seen[iteration + 1 :]
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)
    # What lies within an epoch is of use only until its end.
    assert sorted(path.name for path in work.glob("*.pth")) == sorted(
        path.name for path in (tmp_path / "whole").glob("*.pth")
    )


@pytest.mark.parametrize("by_epoch", [True, False])
def test_sigterm_in_a_validation_saves_the_training(tmp_path, by_epoch):
    settings = {
        "by_epoch": by_epoch, "length": 6 if by_epoch else 12, "interval": 5, "validate": True,
    }  # fmt: skip
    whole = build_run(tmp_path / "whole", hooks=[EMA], **settings)
    whole.train()
    work, hook = tmp_path / "work", Terminate(validation=8)
    run = build_run(work, hooks=[EMA, hook], **settings)
    with pytest.raises(SystemExit):
        run.train()
    found = find_checkpoint(work).path
    assert Path(found).name == ("epoch_2.pth" if by_epoch else "iter_8.pth")
    rest = build_run(work, hooks=[EMA], resume=found, **settings)
    rest.train()
    assert rest.model.seen == whole.model.seen[8:]
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)


def test_gradients_that_are_being_accumulated_are_not_lost(tmp_path):
    settings = {"by_epoch": False, "length": 12, "interval": 100}
    settings["optim"] = {"accumulative_counts": 4}
    whole = build_run(tmp_path / "whole", **settings)
    whole.train()
    name = interrupt(tmp_path / "work", Terminate(4), **settings)
    assert name == "iter_8.pth"
    rest = build_run(tmp_path / "work", resume=tmp_path / "work" / name, **settings)
    rest.train()
    assert torch.equal(rest.model.layer.weight, whole.model.layer.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, value):
    run = build_run(tmp_path)
    run.model.poison[10] = value
    with pytest.raises(UsageError, match=rf"loss is {value} at iteration 10 \(epoch 3\)") as stop:
        run.train()
    message = str(stop.value)
    assert "learning rate (0.1)" in message and "clip_grad" in message
    assert f"--resume {tmp_path / 'epoch_2.pth'}" in message
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_2.pth")


def test_a_bad_loss_is_not_saved_when_a_checkpoint_is_due(tmp_path):
    run = build_run(tmp_path, by_epoch=False, length=24)
    run.model.poison[10] = float("nan")
    with pytest.raises(UsageError, match="is infinite or no number at iteration 10"):
        run.train()
    assert find_checkpoint(tmp_path).path == str(tmp_path / "iter_9.pth")
