"""Batches of a resumed training: what was trained on is passed over, and not loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

from mmengine.registry import DATA_SAMPLERS
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
        if inner is None:
            self.batches: Any = BatchSampler(sampler, batch_size, drop_last)
        else:
            given = {"sampler": sampler, "batch_size": batch_size}
            self.batches = DATA_SAMPLERS.build(inner, default_args=given)
        self.endless = endless
        self.to_pass = 0
        # What MMEngine and the frameworks look for.
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

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
                    yield batch
            if not self.endless or count == 0:
                return
            epoch += 1
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)


class LateLoader:
    """A data loader whose workers start when the first batch is asked for.

    MMEngine starts them as it builds the loop, before a checkpoint says which batch is the first.

    Args:
        loader: The data loader.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        yield from self._loader


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
