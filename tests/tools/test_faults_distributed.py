"""Several processes, on one machine that may stand for two, with gloo on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmscalablevit.checkpoints import load_file
from mmscalablevit.runner.resume import find_checkpoint

from .fault_runs import (
    ROOT,
    Job,
    assert_equal,
    free_port,
    run,
    state,
    wait_for_end,
    write_configs,
    write_data,
)

pytestmark = pytest.mark.slow

# What happens to one process of a job, as a hook that its config names.
_HOOK = """
import os
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from tests.tools.fault_runs import descendants


@HOOKS.register_module()
class Signal(Hook):
    def __init__(self, number, rank, iteration, to):
        self.number, self.rank, self.iteration, self.to = number, rank, iteration, to

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.cfg.get("resume") or (runner.rank, runner.iter) != (self.rank, self.iteration):
            return
        launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
        everyone = [launcher, *descendants(launcher)]
        Path("signalled").write_text(" ".join(map(str, everyone)))
        chosen = {"self": [os.getpid()], "launcher": [launcher], "everyone": everyone}
        for process in chosen[self.to]:
            os.kill(process, self.number)
"""
_FAULTY = """
_base_ = "{base}.py"
custom_imports = dict(imports=["mmscalablevit", "signals"], allow_failed_imports=False)
custom_hooks = [dict(type="Signal", {settings})]
"""
_FAULTS = {
    "kill": ("epochs", "number=9, rank=1, iteration=6, to='self'"),
    "terminate": ("epochs", "number=15, rank=0, iteration=6, to='launcher'"),
    # As Slurm does it: the launcher, its processes, and the workers of their data loaders.
    "terminate_all_epochs": ("epochs", "number=15, rank=0, iteration=6, to='everyone'"),
    "terminate_all_iterations": ("iterations", "number=15, rank=0, iteration=6, to='everyone'"),
}

LAST = "epoch_2.pth"
# Two times three images are the batch of one process. SGD's steps are as exact as the gradients.
OPTIONS = [
    "--cfg-options", "train_cfg.max_epochs=2", "optim_wrapper.optimizer.type=SGD",
    "optim_wrapper.optimizer.lr=0.1",
]  # fmt: skip
HALF = [*OPTIONS, "train_dataloader.batch_size=3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with a data set and configs."""
    root = tmp_path_factory.mktemp("processes")
    write_data(root)
    write_configs(root)
    (root / "signals.py").write_text(_HOOK)
    for name, (base, settings) in _FAULTS.items():
        content = _FAULTY.replace("{base}", base).replace("{settings}", settings)
        (root / f"{name}.py").write_text(content)
    return root


@pytest.fixture(scope="module")
def two(place) -> Path:
    """The work directory of two processes."""
    run(place, "dist_train.sh", "epochs.py", 2, "--work-dir", "two", *HALF, PORT=free_port())
    return place / "two"


def paths(place: Path) -> str:
    """Where the processes find the hook, and what it imports."""
    return f"{place}:{ROOT}"


def test_two_processes_train_as_one_does(place, two):
    run(place, "train.py", "epochs.py", "--work-dir", "one", *OPTIONS)
    one, both = (load_file(work / LAST) for work in (place / "one", two))
    assert both["meta"]["iter"] == one["meta"]["iter"] == 8
    assert len(both["random_states"]) == 2
    moved = 0.0
    start = load_file(place / "one" / "epoch_1.pth")["state_dict"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(both["state_dict"][name], value, rtol=1e-4, atol=1e-6, msg=name)
        moved = max(moved, (value - start[name]).abs().max().item())
    assert moved > 1e-2  # far more than the tolerance
    # SGD without momentum: the last gradient is what the last step took, up to the clipping.
    assert both["message_hub"]["log_scalars"]["train/grad_norm"].data[-1][0] == pytest.approx(
        one["message_hub"]["log_scalars"]["train/grad_norm"].data[-1][0], rel=1e-4
    )


def test_a_job_starts_again_when_a_process_is_killed(place, two):
    settings = {"PYTHONPATH": paths(place), "MAX_RESTARTS": "1"}
    output = run(
        place, "dist_train.sh", "kill.py", 2, "--work-dir", "killed", *HALF, PORT=free_port(),
        **settings,
    )  # fmt: skip
    assert "resumed epoch: 1, iter: 4" in output and "exitcode: -9" in output
    assert_equal(state(place / "killed" / LAST), state(two / LAST))


def test_both_machines_start_again_when_a_process_of_one_is_killed(place, two):
    settings = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "PORT": free_port(), "MAX_RESTARTS": "1"}
    settings["PYTHONPATH"] = paths(place)
    command = ["dist_train.sh", "kill.py", 1, "--work-dir", "killed_nodes", *HALF]
    with (
        Job(place, command, **settings, NODE_RANK="0") as first,
        Job(place, command, **settings, NODE_RANK="1") as second,
    ):
        outputs = first.end() + second.end()
    assert "resumed epoch: 1, iter: 4" in outputs and "exitcode: -9" in outputs
    assert_equal(state(place / "killed_nodes" / LAST), state(two / LAST))


def test_sigterm_to_the_launcher_saves_and_the_job_goes_on(place, two):
    command = ["dist_train.sh", "terminate.py", 2, "--work-dir", "ended", *HALF]
    output = run(place, *command, expect=1, PORT=free_port(), PYTHONPATH=paths(place))
    assert "SIGTERM: training ends after iteration" in output
    found = Path(find_checkpoint(place / "ended").path)
    assert found.name.startswith("epoch_1_iter_")  # in the second epoch
    command.insert(3, "--resume")
    run(place, *command, PORT=free_port(), PYTHONPATH=paths(place))
    assert_equal(state(place / "ended" / LAST), state(two / LAST))


WORKERS = ["train_dataloader.num_workers=2"]


def test_slurms_signal_to_all_processes_of_torchrun_saves_and_leaves_none(place, two):
    command = ["dist_train.sh", "terminate_all_epochs.py", 2, "--work-dir", "all", *HALF, *WORKERS]
    output = run(place, *command, expect=1, PORT=free_port(), PYTHONPATH=paths(place))
    processes = wait_for_end(place / "signalled")
    assert processes == 1 + 2 * (1 + 2)  # the launcher, two processes, two workers of each
    assert "SIGTERM: training ends after iteration" in output
    assert Path(find_checkpoint(place / "all").path).name.startswith("epoch_1_iter_")
    command.insert(3, "--resume")
    run(place, *command, PORT=free_port(), PYTHONPATH=paths(place))
    assert_equal(state(place / "all" / LAST), state(two / LAST))


def test_slurms_signal_to_a_process_and_its_workers_saves_and_leaves_none(place):
    options = ["--cfg-options", "train_cfg.max_iters=12"]
    run(place, "train.py", "iterations.py", "--work-dir", "whole", *options)
    command = ["train.py", "terminate_all_iterations.py", "--work-dir", "alone", *options]
    output = run(place, *command, expect=143, PYTHONPATH=paths(place))
    assert wait_for_end(place / "signalled") == 3
    assert "Traceback" not in output
    assert Path(find_checkpoint(place / "alone").path).name == "iter_7.pth"
    command.insert(2, "--resume")
    run(place, *command, PYTHONPATH=paths(place))
    assert_equal(state(place / "alone" / "iter_12.pth"), state(place / "whole" / "iter_12.pth"))
