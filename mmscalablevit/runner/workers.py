"""The workers of data loaders, which end when the main process says so, and at no signal.

Slurm signals all processes of a job. Workers that died of it would take the training down before
its checkpoint is written.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkContext, ForkProcess

import torch
from torch.utils.data import DataLoader


class _DeafProcess(ForkProcess):
    """A process that SIGTERM cannot end from its first instruction on."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it is inherited
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _DeafContext(ForkContext):
    Process = _DeafProcess


def _obey_parent() -> None:
    """End this process when its parent terminates it, and at no other's SIGTERM."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def _start_worker(worker_id: int, initialize: Callable[[int], None] | None) -> None:
    """Start a loader's worker, which leaves it to the main process when to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_obey_parent, daemon=True).start()
    if initialize is not None:
        initialize(worker_id)


def prepare_loader(loader: DataLoader, seed: int | None) -> None:
    """Make a data loader fit for interruptions, in place.

    Args:
        loader: A loader that has not started its workers yet.
        seed: For a generator of the loader's own. It would draw from the one that everything
            draws from, once for each start of its workers, which a resumed run starts more often.
    """
    if seed is not None:
        loader.generator = torch.Generator().manual_seed(seed)
    loader.worker_init_fn = partial(_start_worker, initialize=loader.worker_init_fn)
    forks = loader.multiprocessing_context is None and multiprocessing.get_start_method() == "fork"
    if forks and loader.num_workers > 0:
        loader.multiprocessing_context = _DeafContext()


def end_workers() -> None:
    """End the workers of all data loaders, after their last batch.

    Left to Python's collection of garbage, each of them takes five seconds to end.
    """
    workers = [
        child for child in multiprocessing.active_children() if isinstance(child, _DeafProcess)
    ]
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()
