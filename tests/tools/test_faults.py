"""What happens to trainings is done to small ones; they must end with the same weights."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.in_process import run_tool

from .fault_runs import assert_equal, run, state, write_configs, write_data

pytestmark = pytest.mark.slow

LAST = {"epochs": "epoch_6.pth", "iterations": "iter_24.pth"}
KILLS = 10


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a data set and configs."""
    root = tmp_path_factory.mktemp("faults")
    write_data(root)
    write_configs(root)
    return root


def start(place: Path, faults: list, config: str, work_dir: str | Path, *options: object) -> tuple:
    """Train once for each fault; return exit codes, last events and the output."""
    output = run(
        place, "forked_training.py", json.dumps(faults), f"{config}.py", "--work-dir", work_dir,
        *options,
    )  # fmt: skip
    found = json.loads(output.splitlines()[-1])
    return [code for code, _ in found], [event for _, event in found], output


@pytest.fixture(scope="module")
def undisturbed(place) -> Path:
    """The work directory of a run of epochs that nothing happened to."""
    start(place, [None], "epochs", "undisturbed")
    return place / "undisturbed"


@pytest.mark.parametrize("kind", ["epochs", "iterations"])
def test_a_run_that_is_killed_ten_times_ends_with_the_same_weights(place, kind):
    moments = random.Random(29)
    faults = [[moments.randint(1, 14), "SIGKILL"] for _ in range(KILLS)]
    # Random numbers of the main process are part of what is resumed.
    start(place, [None], f"random_{kind}", f"whole_{kind}")
    codes, events, _ = start(
        place, [*faults, None], f"random_{kind}", f"killed_{kind}", "--resume", "auto"
    )
    assert codes == [-9] * KILLS + [0]
    assert len({event for event in events[:-1] if event.startswith("write")}) >= 3
    expected, killed = place / f"whole_{kind}", place / f"killed_{kind}"
    assert_equal(state(killed / LAST[kind]), state(expected / LAST[kind]))
    assert not list(killed.glob(".*.tmp"))


def test_sigterm_saves_and_ends_with_143(place, undisturbed):
    codes, _, output = start(place, [[14, "SIGTERM"], None], "epochs", "ended", "--resume", "auto")
    # Eleven iterations and, after four and eight of them, the writing of three checkpoints.
    assert codes == [143, 0]
    assert "SIGTERM: training ends after iteration" in output
    assert "go on with --resume auto" in output and "Traceback" not in output
    assert_equal(state(place / "ended" / LAST["epochs"]), state(undisturbed / LAST["epochs"]))


def test_a_full_disk_costs_no_good_checkpoint(place, undisturbed):
    codes, _, output = start(place, [[20, "ENOSPC"], None], "epochs", "full", "--resume", "auto")
    assert codes == [1, 0]
    assert output.count("Training goes on and tries again at the next interval") == 2
    assert "cannot be written: No space left on device; the last good one is" in output
    assert_equal(state(place / "full" / LAST["epochs"]), state(undisturbed / LAST["epochs"]))


def test_what_does_not_fit_a_work_directory_is_told_at_the_start(place, undisturbed, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copytree(undisturbed, place / "changed")
    command = ["train.py", "epochs.py", "--work-dir", "changed"]
    resumed = [*command, "--resume", "auto", "--cfg-options"]
    wider = ["model.backbone.arch.embed_dims=[8,8,16,32]", "model.head.in_channels=32"]
    ending = run_tool(*resumed, *wider)
    assert ending.code == 1 and "model.head.in_channels: 16 -> 32" in ending.shown
    assert "choose another --work-dir" in ending.message
    ending = run_tool(*resumed, "optim_wrapper.optimizer.lr=0.001")
    assert ending.code == 0 and "optim_wrapper.optimizer.lr: 0.002 -> 0.001" in ending.shown
    ending = run_tool(*command, "--cfg-options", "train_cfg.max_epochs=1")
    assert ending.code == 0 and "holds checkpoints of an earlier run" in ending.shown


def test_slurms_requeued_job_goes_on(place, undisturbed, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    codes, _, output = start(place, [[16, "SIGKILL"], None], "epochs", "requeued")
    assert codes == [-9, 0] and "resumed epoch: 1" in output
    assert_equal(state(place / "requeued" / LAST["epochs"]), state(undisturbed / LAST["epochs"]))
