"""Small trainings for the tests of faults, and processes that never outlive their test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from PIL import Image

from mmscalablevit.checkpoints import load_file
from tests.tiny_projects import CLASSIFICATION

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
HERE = Path(__file__).parent

# Classes, images of each: 22 images are no multiple of any batch size below.
CLASSES, IMAGES = 2, 11

_CONFIG = """
_base_ = "classification.py"
arch = dict(embed_dims=[8, 8, 16, 16], num_heads=[1, 1, 2, 2])
model = dict(
    backbone=dict(arch=arch, drop_path_rate={drop_path}), head=dict(num_classes=2, in_channels=16)
)
data_preprocessor = dict(num_classes=2)
pipeline = [
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=(32, 32)),
    dict(type="RandomFlip", prob={flip}), dict(type="PackInputs"),
]
colours = dict(data_root={root!r}, metainfo=dict(classes=["colour0", "colour1"]), pipeline=pipeline)
train_dataloader = dict(
    batch_size=6, num_workers={workers}, persistent_workers={workers} > 0, dataset=colours,
    sampler=dict(type={sampler!r}, shuffle=True),
)
val_dataloader = dict(batch_size=4, dataset=colours)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch={by_epoch}, begin=0, end={length})
train_cfg = dict(
    _delete_=True, by_epoch={by_epoch}, max_{unit}={length}, val_interval={val_interval}
)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=1),
    checkpoint=dict(type="CheckpointHook", by_epoch={by_epoch}, interval={interval},
                    max_keep_ckpts=2, save_best="auto"),
)
log_processor = dict(by_epoch={by_epoch})
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
"""

_EPOCHS = {
    "by_epoch": True, "unit": "epochs", "length": 6, "interval": 1, "val_interval": 2,
    "sampler": "DefaultSampler", "workers": 0, "drop_path": 0.0, "flip": 0.0,
}  # fmt: skip
_ITERATIONS = {
    **_EPOCHS, "by_epoch": False, "unit": "iters", "length": 24, "interval": 4, "val_interval": 8,
    "sampler": "InfiniteSampler", "workers": 2,
}  # fmt: skip


def write_data(root: Path) -> None:
    """Write a data set of two colours."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(CLASSES):
            folder = root / "data" / split / f"colour{label}"
            folder.mkdir(parents=True)
            for index in range(IMAGES):
                image = random.integers(0, 120, (40, 36 + index, 3))
                image[..., label] += 100
                Image.fromarray(image.astype(np.uint8)).save(folder / f"{index}.png")


def write_configs(root: Path) -> None:
    """Write a config of each kind of training loop, plain and with randomness."""
    (root / "classification.py").write_text(CLASSIFICATION)
    for name, settings in {
        "epochs": _EPOCHS,
        "random_epochs": {**_EPOCHS, "drop_path": 0.3, "flip": 0.5},
        "iterations": _ITERATIONS,
        "random_iterations": {**_ITERATIONS, "drop_path": 0.3},
    }.items():
        content = _CONFIG
        for key, value in {**settings, "root": str(root / "data")}.items():
            content = content.replace(f"{{{key}!r}}", repr(value)).replace(f"{{{key}}}", str(value))
        (root / f"{name}.py").write_text(content)


def free_port() -> str:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return str(probe.getsockname()[1])


def state(path: Path) -> dict:
    """All that a checkpoint says of weights and optimizer."""
    content = load_file(path)
    return {"weights": content["state_dict"], "optimizer": content["optimizer"]["state"]}


def assert_equal(found: object, expected: object, place: str = "") -> None:
    """Nested containers of tensors are equal, to the bit."""
    if torch.is_tensor(expected):
        assert torch.equal(found, expected), place
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_equal(found[key], value, f"{place}.{key}")
    else:
        assert found == expected, place


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{process}/task"):
            children = Path(f"/proc/{process}/task/{thread}/children").read_text().split()
            for child in map(int, children):
                found += [child, *descendants(child)]
    return found


def wait_for_end(path: Path, limit: float = 120.0) -> int:
    """Wait until none of the processes whose ids a file lists is there, and return their number."""
    processes = path.read_text().split()
    end = time.monotonic() + limit
    while left := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.1)
    return len(processes)


def is_alive(process: str) -> bool:
    """Whether a process is there and not merely waiting to be counted by its parent."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


class Job:
    """A command, killed at the end of the block with all that it has started.

    Args:
        place: Directory to run it in; its output goes there too.
        command: A tool's name and its arguments.
        environment: Variables beside those of this process.
    """

    def __init__(self, place: Path, command: Sequence[object], **environment: str) -> None:
        program, *arguments = map(str, command)
        start = ["bash"] if program.endswith(".sh") else [sys.executable]
        path = HERE / program if (HERE / program).exists() else TOOLS / program
        self.log = place / f"{Path(program).stem}_{len(list(place.glob('*.out')))}.out"
        variables = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                [*start, str(path), *arguments], cwd=place, env=variables, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            for number in (self.process.pid, *descendants(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        self.process.wait()

    @property
    def output(self) -> str:
        """What it has said up to now."""
        return self.log.read_text(errors="replace")

    def end(self, expect: int = 0) -> str:
        """Wait until it is over, check its exit code, and return its output."""
        code = self.process.wait()
        assert code == expect, f"exit code {code}\n{self.output[-6000:]}"
        return self.output


def run(place: Path, *command: object, expect: int = 0, **environment: str) -> str:
    """Run a command to its end, check its exit code, and return its output."""
    with Job(place, command, **environment) as job:
        return job.end(expect)
