"""Training loops that go on anywhere, without loading the data that was trained on already.

MMEngine's loops resume an epoch at its start only, and the iteration-based one loads every image
since the first iteration again. These pass over batches of indices instead, which takes
microseconds each, and give the same batches in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmscalablevit.runner.batches import BatchStream, LateLoader, PassedOver


def _build_loader(runner: Runner, config: DataLoader | dict, endless: bool) -> DataLoader:
    """Build a training's data loader around a :class:`.BatchStream`."""
    if isinstance(config, DataLoader):
        return config
    config = {"batch_size": 1, **config}
    if config["batch_size"] is not None:  # which asks for single samples
        inner = config.get("batch_sampler")
        drop_last = inner is None and config.pop("drop_last", False)
        config["batch_sampler"] = {
            "type": BatchStream, "inner": inner, "drop_last": drop_last, "endless": endless,
        }  # fmt: skip
    randomness = runner.cfg.get("randomness") or {}
    apart = randomness.get("diff_rank_seed", False)
    return runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=apart)


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
        late = LateLoader(loader)
        super().__init__(runner, late, max_iters, val_begin, val_interval, dynamic_intervals)
        self.dataloader = loader

    dataloader_iterator: Iterator[Any]

    def run(self) -> Any:
        """Train."""
        stream = self.dataloader.batch_sampler
        if self._iter > 0 and isinstance(stream, BatchStream):
            stream.to_pass = self._iter
            self.dataloader_iterator = PassedOver(self.dataloader_iterator, self._iter)
        return super().run()
