"""Importing registers classes under names of their own, and does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# What the package stands on is imported before; only then is there something to leave alone.
PROGRAM = """
import atexit, importlib, json, logging, os, pkgutil, signal, sys, threading, warnings

import matplotlib.pyplot
import torch
import mmcv, mmengine.runner, mmengine.hooks, mmengine.visualization
for framework in ("mmdet.models", "mmseg.models", "mmpretrain.models"):
    try:
        importlib.import_module(framework)
    except ImportError:
        pass
from mmengine.fileio.backends import registry_utils
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader


def state():
    return {
        "allowed globals": list(map(str, torch.serialization.get_safe_globals())),
        "environment": dict(os.environ),
        "handlers of signals": [str(signal.getsignal(n)) for n in signal.valid_signals()],
        "blocked signals": list(map(str, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "matplotlib": [matplotlib.get_backend(), str(matplotlib.rcParams)],
        "calls at exit": atexit._ncallbacks(),
        "warnings": list(map(str, warnings.filters)),
        "torch": [
            str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.initial_seed(), torch.are_deterministic_algorithms_enabled(),
        ],
        "path": list(sys.path),
        "hooks": [str(sys.excepthook), str(sys.displayhook)],
        "loggers": [str(logging.root.handlers), logging.root.level],
        "threads": threading.active_count(),
        "scope": DefaultScope.get_current_instance() is None,
        "loaders of checkpoints": {k: str(v) for k, v in CheckpointLoader._schemes.items()},
        "handlers of files": {k: type(v).__name__ for k, v in file_handlers.items()},
        "backends by prefix": {k: str(v) for k, v in registry_utils.prefix_to_backends.items()},
        "backends": {
            k: str(v) for k, v in registry_utils.backends.items() if k != "mmscalablevit"
        },
    }  # fmt: skip


before = state()
for room in sys.argv[1:]:
    place = importlib.import_module(room).__path__
    for module in pkgutil.iter_modules(place if room != "mmscalablevit" else []):
        importlib.import_module(f"{room}.{module.name}")
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""

ROOMS = ["hooks", "runner", "evaluation", "checks", "datasets", "models", "cli", "checkpoints"]


@pytest.mark.parametrize(
    "names",
    [["mmscalablevit"], [f"mmscalablevit.{room}" for room in ROOMS]],
    ids=["package", "rooms"],
)
def test_importing_leaves_the_process_as_it_was(names):
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
