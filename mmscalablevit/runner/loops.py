"""Training loops that go on anywhere, without loading the data that was trained on already.

MMEngine's loops resume an epoch at its start only, and the iteration-based one loads every image
since the first iteration again. These pass over batches of indices instead, which takes
microseconds each, and give the same batches in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Sampler


class BatchStream:
    """A batch sampler that can pass over batches.

    Args:
        sampler: The sampler of the data set's indices.
        batch_size: Number of indices in a batch.
        drop_last: Leave out what does not fill a batch.
        inner: Config of the batch sampler to take the batches from, in place of torch's.
        endless: At its end, begin the next epoch.

    Attributes:
        to_pass: Number of batches to pass over next.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        drop_last: bool = False,
        inner: dict | None = None,
        endless: bool = False,
    ) -> None:
        settings = inner or {"type": BatchSampler, "drop_last": drop_last}
        given = {"sampler": sampler, "batch_size": batch_size}
        self.batches: Any = DATA_SAMPLERS.build(settings, default_args=given)
        self.endless = endless
        self.to_pass = 0
        # What MMEngine and the frameworks look for.
        self.sampler = sampler
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            empty = True
            for batch in self.batches:
                empty = False
                if self.to_pass > 0:
                    self.to_pass -= 1
                else:
                    yield batch
            if not self.endless or empty:
                return
            epoch += 1
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)


class LateBatches:
    """A loader's batches, whose workers start with the first one that is loaded.

    MMEngine would start them as it builds its loop, and load those of iterations that are over.

    Attributes:
        passed: Number of next batches that are over, in place of which there is None.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._batches: Iterator[Any] | None = None
        self.passed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        self._batches = None
        return self

    def __next__(self) -> Any:
        if self.passed > 0:
            self.passed -= 1
            return None
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """Pass over a number of batches, as MMEngine's maintained fork does."""
        self.passed -= num_iters


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
