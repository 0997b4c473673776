"""Training loops that go on anywhere, without loading the data that was trained on already.

MMEngine's loops resume an epoch at its start only, and the iteration-based one loads every image
since the first iteration again. These pass over batches of indices instead, which takes
microseconds each, and give the same batches in the same order.
"""

from __future__ import annotations

from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmscalablevit.runner.batches import BatchStream, LateBatches


def stream_batches(loader: DataLoader | dict, endless: bool) -> DataLoader | dict:
    """Let a loader's config take its batches from a :class:`.BatchStream`."""
    if isinstance(loader, DataLoader) or loader.get("batch_size", 1) is None:
        return loader
    loader = {"batch_size": 1, **loader}
    inner = loader.get("batch_sampler")
    stream = {"type": BatchStream, "inner": inner, "endless": endless}
    if inner is None:
        stream["drop_last"] = loader.pop("drop_last", False)
    return {**loader, "batch_sampler": stream}


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop``, which can also go on within an epoch.

    Takes the same arguments.

    Attributes:
        position: Number of batches of this epoch that have been trained on.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any):
        super().__init__(runner, stream_batches(dataloader, endless=False), *args, **kwargs)
        self.position = 0
        self._first = 0

    def run_epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        stream = self.dataloader.batch_sampler
        if isinstance(stream, BatchStream):
            self._first = stream.to_pass = self.position
        super().run_epoch()
        self.position = self._first = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, the first of which may lie within the epoch."""
        self.position = self._first + idx + 1
        super().run_iter(self._first + idx, data_batch)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop``, which does not load again what it passes over.

    Takes the same arguments.
    """

    dataloader: Any
    dataloader_iterator: Any

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, *args: Any, **kwargs: Any):
        BaseLoop.__init__(self, runner, stream_batches(dataloader, endless=True))
        loader = self.dataloader
        self._batches = LateBatches(loader)
        super().__init__(runner, self._batches, *args, **kwargs)
        self.dataloader = loader

    def run(self) -> Any:
        """Train."""
        stream = self.dataloader.batch_sampler
        if self.iter > 0 and isinstance(stream, BatchStream):
            stream.to_pass = self._batches.passed = self.iter
            self.dataloader_iterator = self._batches
        return super().run()
