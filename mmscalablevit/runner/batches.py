"""Batches of a resumed training: what was trained on is passed over, and not loaded again."""

from __future__ import annotations

from collections.abc import Iterator
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


class LateLoader:
    """A data loader whose workers start with the first batch, not when MMEngine builds its loop."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        yield from self._loader


class PassedOver:
    """Batches from a number on, before which there is nothing to load.

    MMEngine draws a batch for each iteration that is over, the maintained fork of it calls
    ``skip_iter``.
    """

    def __init__(self, batches: Iterator[Any], passed: int) -> None:
        self._batches = batches
        self._passed = passed

    def __next__(self) -> Any:
        if self._passed > 0:
            self._passed -= 1
            return None
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """Pass over a number of batches."""
        self._passed -= num_iters
