"""MMEngine's Runner, for trainings that survive faults."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmscalablevit.checkpoints.reading import load_file
from mmscalablevit.runner.checkpointing import SafeCheckpointHook
from mmscalablevit.runner.interruption import InterruptionHook
from mmscalablevit.runner.loops import ResumableEpochLoop, ResumableIterLoop
from mmscalablevit.runner.workers import end_workers, prepare_loader

_LOOPS = {"EpochBasedTrainLoop": ResumableEpochLoop, "IterBasedTrainLoop": ResumableIterLoop}


class ResumableRunner(Runner):
    """Train as MMEngine's Runner does, in a way that can be interrupted and resumed anywhere.

    In place of MMEngine's loops and checkpoint hook it runs those of this package. The config
    stays what it is, so that other programs can use it.
    """

    def train(self) -> nn.Module:
        """Train, and leave neither a handler for SIGTERM nor workers of data loaders behind."""
        try:
            return super().train()
        finally:
            end_workers()
            self._interruption.termination.stop()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader that is fit for interruptions."""
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if loader is not dataloader:
            prepare_loader(loader, seed)
        return loader

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all generators; a resumed run keeps its seed, by which images are shuffled."""
        path = self.cfg.get("load_from")
        if self.cfg.get("resume") and path and "://" not in path:
            seed = load_file(path).get("meta", {}).get("seed", seed)
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def register_hooks(
        self,
        default_hooks: dict[str, Any] | None = None,
        custom_hooks: list[Any] | None = None,
    ) -> None:
        """Register a run's hooks and :class:`.InterruptionHook`."""
        super().register_hooks(default_hooks, custom_hooks)
        self._interruption = InterruptionHook()
        self.register_hook(self._interruption)

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        """Register a hook; MMEngine's checkpoint hook becomes :class:`.SafeCheckpointHook`."""
        if isinstance(hook, dict) and hook.get("type") in ("CheckpointHook", CheckpointHook):
            hook = {**hook, "type": SafeCheckpointHook}
        super().register_hook(hook, priority)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, a resumable one in place of MMEngine's."""
        if isinstance(loop, dict):
            settings = dict(loop)
            if "type" not in settings:
                by_epoch = settings.pop("by_epoch")
                settings["type"] = ResumableEpochLoop if by_epoch else ResumableIterLoop
            elif settings["type"] in _LOOPS:
                settings["type"] = _LOOPS[settings["type"]]
            loop = settings
        return super().build_train_loop(loop)
