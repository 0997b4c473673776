"""Training loops that go on anywhere, without loading the data that was trained on already.

MMEngine's loops resume an epoch at its start only, and the iteration-based one loads every image
since the first iteration again. These pass over batches of indices instead, which takes
microseconds each, and give the same batches in the same order.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

import torch
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader


class BatchStream:
    """A batch sampler that can pass over batches, and counts those that it gave.

    Args:
        batches: The batch sampler of a data loader.
        endless: At its end, begin the next epoch.

    Attributes:
        given: Number of batches given so far; workers ask for some ahead of time.
        to_pass: Number of batches to pass over next.
    """

    def __init__(self, batches: Any, endless: bool = False) -> None:
        self.batches = batches
        self.endless = endless
        self.given = 0
        self.to_pass = 0
        # What MMEngine and the frameworks look for.
        self.sampler = batches.sampler
        self.batch_size = batches.batch_size
        self.drop_last = batches.drop_last

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            count = 0
            for batch in self.batches:
                count += 1
                if self.to_pass > 0:
                    self.to_pass -= 1
                else:
                    self.given += 1
                    yield batch
            if not self.endless or count == 0:
                return
            epoch += 1
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)


class PassedOver:
    """The batches of a resumed loop, after those that were passed over already.

    MMEngine draws a batch for each iteration that is over, the maintained fork of it calls
    ``skip_iter``. Neither is to load anything.

    Args:
        batches: The batches that follow.
        passed: Number of batches before them, each of which is None.
    """

    def __init__(self, batches: Iterator[Any], passed: int) -> None:
        self._batches = chain(repeat(None, passed), batches)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """Pass over a number of batches."""
        for _ in range(num_iters):
            next(self)


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


def prepare_loader(loader: DataLoader, seed: int) -> None:
    """Make a data loader fit for interruptions, in place.

    Slurm signals all processes of a job. Workers that died of it would take the training down
    before its checkpoint is written.

    Args:
        loader: A loader that has not started its workers yet.
        seed: For a generator of the loader's own. It would draw from the one that everything
            draws from, once for each start of its workers, which a resumed run starts more often.
    """
    loader.generator = torch.Generator().manual_seed(seed)
    loader.worker_init_fn = partial(_start_worker, initialize=loader.worker_init_fn)
    forks = loader.multiprocessing_context is None and multiprocessing.get_start_method() == "fork"
    if forks and loader.num_workers > 0:
        loader.multiprocessing_context = _DeafContext()


def _build_loader(runner: Runner, config: DataLoader | dict, endless: bool) -> DataLoader:
    """Build a training's data loader around a :class:`BatchStream`."""
    apart = runner._randomness_cfg.get("diff_rank_seed", False)
    loader = runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=apart)
    prepare_loader(loader, runner.seed)
    if loader.batch_sampler is not None:
        # Past the loader's check, which guards workers that run already.
        object.__setattr__(loader, "batch_sampler", BatchStream(loader.batch_sampler, endless))
    return loader


def end_workers(loop: BaseLoop) -> None:
    """End the workers of a loop's data loader, after its last batch."""
    loop.dataloader._iterator = None  # persistent ones
    if isinstance(loop, IterBasedTrainLoop):
        loop.dataloader_iterator = iter(())


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop``, which can also go on within an epoch.

    Args:
        runner: The run.
        dataloader: The data loader, or its config.
        max_epochs: Number of epochs.
        val_begin: The first epoch to validate after.
        val_interval: Number of epochs from one validation to the next.
        dynamic_intervals: Pairs of an epoch and the interval from there on.

    Attributes:
        position: Number of batches of this epoch that have been trained on.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        loader = _build_loader(runner, dataloader, endless=False)
        super().__init__(runner, loader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self.position = 0

    def run_epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        stream, first = self.dataloader.batch_sampler, self.position
        if first and isinstance(stream, BatchStream):
            self.runner.call_hook("before_train_epoch")
            self.runner.model.train()
            stream.to_pass = first
            for index, batch in enumerate(self.dataloader, start=first):
                self.run_iter(index, batch)
            self.runner.call_hook("after_train_epoch")
            self._epoch += 1
        else:
            super().run_epoch()
        self.position = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch."""
        self.position = idx + 1
        super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop``, which does not load again what it passes over.

    Args:
        runner: The run.
        dataloader: The data loader, or its config.
        max_iters: Number of iterations.
        val_begin: The first iteration to validate after.
        val_interval: Number of iterations from one validation to the next.
        dynamic_intervals: Pairs of an iteration and the interval from there on.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        loader = _build_loader(runner, dataloader, endless=True)
        super().__init__(runner, loader, max_iters, val_begin, val_interval, dynamic_intervals)

    dataloader_iterator: Iterator[Any]

    def run(self) -> Any:
        """Train."""
        stream = self.dataloader.batch_sampler
        if self._iter > 0 and isinstance(stream, BatchStream):
            # Workers have been loading the first batches since the loop was built.
            loaded = min(self._iter, stream.given)
            stream.to_pass = self._iter - loaded
            for _ in range(loaded):
                next(self.dataloader_iterator)
            self.dataloader_iterator = PassedOver(self.dataloader_iterator, self._iter)
        return super().run()
