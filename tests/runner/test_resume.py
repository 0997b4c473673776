from __future__ import annotations

import errno
import os
import time

import pytest
import torch

from mmscalablevit.files import write_whole
from mmscalablevit.runner.resume import (
    explain_disk_error,
    find_checkpoint,
    note_last,
    own_checkpoints,
    remove_leftovers,
)


def test_the_newest_good_checkpoint_is_found_by_number(tmp_path):
    assert find_checkpoint(tmp_path) is None
    for name in ("epoch_2.pth", "epoch_10.pth", "best_accuracy_epoch_11.pth", "other.pth"):
        torch.save({"state_dict": {}, "name": name}, tmp_path / name)
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_10.pth")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "x.pth"
    write_whole(path, b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.pth"]


def test_checkpoints_within_an_epoch_lie_between_those_of_its_ends(tmp_path):
    for name in (
        "epoch_9",
        "epoch_10",
        "epoch_10_iter_950",
        "epoch_10_iter_1000",
        "epoch_2_iter_9",
    ):
        torch.save({"state_dict": {}}, tmp_path / f"{name}.pth")
    assert [path.stem for path in own_checkpoints(tmp_path)] == [
        "epoch_10_iter_1000", "epoch_10_iter_950", "epoch_10", "epoch_9", "epoch_2_iter_9",
    ]  # fmt: skip


def test_halves_that_a_killed_process_left_are_removed(tmp_path):
    for name in (".epoch_3.pth.123.tmp", ".other.tmp", "epoch_2.pth"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.tmp", "epoch_2.pth"]


def test_checkpoints_of_an_earlier_run_are_those_with_higher_numbers_that_are_older(tmp_path):
    for age, name in ((300, "epoch_4"), (200, "epoch_9"), (100, "epoch_5"), (0, "epoch_6_iter_3")):
        path = tmp_path / f"{name}.pth"
        torch.save({"state_dict": {}}, path)
        os.utime(path, (time.time() - age, time.time() - age))
    names = ["epoch_9", "epoch_6_iter_3", "epoch_5", "epoch_4"]
    assert [path.stem for path in own_checkpoints(tmp_path)] == names  # nothing is known of them
    (tmp_path / "last_checkpoint").write_bytes(b"\xff")
    assert [path.stem for path in own_checkpoints(tmp_path)] == names
    note_last(tmp_path, "elsewhere/epoch_5.pth")
    os.utime(tmp_path / "last_checkpoint", (time.time() - 50, time.time() - 50))
    # The newest was saved by a process that was killed before it could note so.
    assert [path.stem for path in own_checkpoints(tmp_path)] == names[1:]
    (tmp_path / "epoch_5.pth").unlink()
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_6_iter_3.pth")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_is_told(number):
    message = explain_disk_error(OSError(number, os.strerror(number), "log.json"))
    assert message.startswith(f"log.json cannot be written: {os.strerror(number)}")
    assert "--resume auto" in message
    assert explain_disk_error(FileNotFoundError(2, "No such file")) is None
    assert explain_disk_error(ValueError("No space left on device")) is None
