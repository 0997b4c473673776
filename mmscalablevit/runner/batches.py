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
