from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmscalablevit.checkpoints import CheckpointError, load_file
from mmscalablevit.errors import UsageError
from mmscalablevit.files import write_whole
from mmscalablevit.runner import checkpointing
from mmscalablevit.runner.checkpointing import SafeCheckpointHook
from mmscalablevit.runner.resume import find_checkpoint

from .toy_run import build_run


@pytest.fixture
def full_disk(monkeypatch):
    """Files whose names are put in here cannot be written."""
    names: set[str] = set()
    monkeypatch.setattr(
        "mmengine.runner.runner.save_checkpoint", lambda content, path, **_: write(content, path)
    )

    def write(content: dict, path: str) -> None:
        if os.path.basename(path) in names:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        torch.save(content, path)

    return names


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.pth"))


def safe_hook(run) -> SafeCheckpointHook:
    return next(hook for hook in run.hooks if isinstance(hook, SafeCheckpointHook))


def test_checkpoints_are_written_whole(tmp_path, monkeypatch):
    written = []

    def write(path, content):
        written.append(os.path.basename(path))
        write_whole(path, content)

    monkeypatch.setattr(checkpointing, "write_whole", write)
    build_run(tmp_path, length=2, validate=True, save_best="accuracy").train()
    best = "best_accuracy_epoch_2.pth"
    assert written == ["epoch_1.pth", "epoch_2.pth", best, "epoch_2.pth"]
    assert names(tmp_path) == [best, "epoch_1.pth", "epoch_2.pth"]


class Spy(Hook):
    """Notes which checkpoints there are when a new one is about to be written."""

    priority = "LOWEST"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seen: list[list[str]] = []

    def before_save_checkpoint(self, runner, checkpoint):
        self.seen.append(names(self.directory))


def test_old_checkpoints_are_there_until_the_new_one_is(tmp_path):
    spy = Spy(tmp_path)
    build_run(tmp_path, hooks=[spy], length=4, max_keep_ckpts=1).train()
    assert spy.seen == [[], ["epoch_1.pth"], ["epoch_2.pth"], ["epoch_3.pth"]]
    assert names(tmp_path) == ["epoch_4.pth"]


def test_the_best_checkpoint_is_there_until_a_better_one_is(tmp_path):
    spy = Spy(tmp_path)
    run = build_run(
        tmp_path, hooks=[spy], length=4, interval=4, validate=True, save_best="accuracy"
    )
    run.train()
    best = [f"best_accuracy_epoch_{number}.pth" for number in (2, 4)]
    assert [[n for n in seen if n in best] for seen in spy.seen] == [[], [best[0]], [best[0]], best]
    assert names(tmp_path) == [best[1], "epoch_4.pth"]


def test_a_checkpoint_that_cannot_be_written_is_tried_again(tmp_path, full_disk):
    full_disk.add("epoch_3.pth")
    run = build_run(tmp_path, max_keep_ckpts=2, length=5)
    messages = []
    run.logger.error = messages.append
    states = []

    class Look(Hook):
        priority = "LOWEST"

        def after_train_epoch(self, runner):
            states.append(names(tmp_path))

    run.register_hook(Look())
    run.train()
    assert states[2] == ["epoch_1.pth", "epoch_2.pth"]
    assert states[3:] == [["epoch_2.pth", "epoch_4.pth"], ["epoch_4.pth", "epoch_5.pth"]]
    assert "epoch_3.pth cannot be written: No space left" in messages[0]
    assert f"the last good one is {tmp_path / 'epoch_2.pth'}" in messages[0]
    assert len(messages) == 1
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_5.pth")


@pytest.mark.parametrize(
    ("bad", "saved"), [([2, 3, 4], "epoch_1.pth"), ([6], "epoch_5.pth")], ids=["three", "last"]
)
def test_training_stops_when_it_cannot_save(tmp_path, full_disk, bad, saved):
    full_disk.update(f"epoch_{number}.pth" for number in bad)
    with pytest.raises(CheckpointError, match=r"last good one is .* --resume auto") as stop:
        build_run(tmp_path, max_keep_ckpts=1).train()
    assert saved in str(stop.value)
    assert names(tmp_path) == [saved]
    full_disk.clear()
    run = build_run(tmp_path, resume=tmp_path / saved, max_keep_ckpts=1)
    run.train()
    assert names(tmp_path) == ["epoch_6.pth"]


def test_a_best_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, full_disk):
    full_disk.update(["best_accuracy_epoch_4.pth", "best_accuracy_epoch_5.pth"])
    run = build_run(tmp_path, validate=True, save_best="accuracy", max_keep_ckpts=1, length=5)
    messages = []
    run.logger.error = messages.append
    run.train()
    assert names(tmp_path) == ["best_accuracy_epoch_2.pth", "epoch_5.pth"]
    assert "the one before is kept" in messages[0].lower()
    assert run.message_hub.get_info("best_score") == 1.0
    # The next one that is better replaces it.
    run = build_run(
        tmp_path, resume=tmp_path / "epoch_5.pth", length=6, validate=True, save_best="accuracy",
        max_keep_ckpts=1,
    )  # fmt: skip
    run.val_evaluator.metrics[0].rounds = 5
    run.train()
    assert names(tmp_path) == ["best_accuracy_epoch_6.pth", "epoch_6.pth"]


def test_too_little_space_is_told_at_the_start(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda path: usage)
    run = build_run(tmp_path)
    with pytest.raises(UsageError, match="GiB left, and the weights of one checkpoint"):
        run.train()
    assert not run.model.seen


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    class Break(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 11:  # after a finite loss
                with torch.no_grad():
                    runner.model.layer.weight[0, 0] = float("nan")

    with pytest.raises(UsageError, match=r"layer.weight is infinite.* iteration") as stop:
        build_run(tmp_path, hooks=[Break()]).train()
    assert f"go on from {tmp_path / 'epoch_2.pth'}" in str(stop.value)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]


def test_validation_leaves_the_random_numbers_alone(tmp_path):
    plain = build_run(tmp_path / "plain")
    plain.train()
    validated = build_run(tmp_path / "validated", validate=True, save_best="accuracy")
    validated.train()
    assert torch.equal(plain.model.layer.weight, validated.model.layer.weight)
    states = load_file(tmp_path / "plain" / "epoch_6.pth")["random_states"]
    assert len(states) == 1 and {"python", "numpy", "torch"} <= states[0].keys()


def test_a_run_that_starts_anew_is_not_resumed_from_an_earlier_one(tmp_path):
    build_run(tmp_path, length=6).train()
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_6.pth")
    build_run(tmp_path, length=2).train()
    assert names(tmp_path) == [f"epoch_{number}.pth" for number in range(1, 7)]
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_2.pth")
    # Going on from an earlier one has the same effect.
    build_run(tmp_path, length=3, resume=tmp_path / "epoch_1.pth").train()
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_3.pth")
