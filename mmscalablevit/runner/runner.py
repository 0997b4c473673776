"""MMEngine's Runner, for checkpoints that have been read, and for trainings that survive faults."""

from __future__ import annotations

from typing import Any

from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import BaseLoop, CheckpointLoader, Runner, load_state_dict
from torch import nn
from torch.utils.data import DataLoader

from mmscalablevit.checkpoints.reading import Checkpoint, saved_entries
from mmscalablevit.models.wrappers import bare_model
from mmscalablevit.runner.checkpointing import SafeCheckpointHook
from mmscalablevit.runner.interruption import InterruptionHook
from mmscalablevit.runner.loops import ResumableEpochLoop, ResumableIterLoop
from mmscalablevit.runner.workers import end_workers, prepare_loader

_LOOPS = {"EpochBasedTrainLoop": ResumableEpochLoop, "IterBasedTrainLoop": ResumableIterLoop}


class LoadedRunner(Runner):
    """MMEngine's Runner, which takes a checkpoint that has been read instead of reading it.

    Attributes:
        loaded: What ``load_from`` names, until it is in the model; None if it is to be read.
    """

    loaded: Checkpoint | None = None

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap a model for several processes; those without a GPU cannot synchronize batch norm."""
        if self.distributed and get_device() == "cpu":
            if any("SyncBatchNorm" in type(module).__name__ for module in model.modules()):
                self.logger.warning(
                    "SyncBN runs on GPUs only; BN takes its place. Each of the "
                    f"{self.world_size} processes normalizes by its own part of the batch."
                )
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: Any = ((r"^module\.", ""),),
    ) -> dict[str, Any]:
        """Load a checkpoint into the model, ``loaded`` if it is of this path; return its content.

        The arguments are those of MMEngine's Runner; ``loaded`` has its tensors on the CPU.
        """
        loaded, self.loaded = self.loaded, None
        if loaded is None or loaded.path != filename:
            loaded = Checkpoint(filename, CheckpointLoader.load_checkpoint(filename, map_location))
        self.call_hook("after_load_checkpoint", checkpoint=loaded.content)
        model = bare_model(self.model)
        weights = saved_entries(loaded.content, model.state_dict())
        load_state_dict(model, weights, strict, self.logger)
        self.logger.info(f"Load checkpoint from {filename}")
        return loaded.content


class ResumableRunner(LoadedRunner):
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

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Register a run's hooks, as MMEngine's Runner does, and :class:`.InterruptionHook`."""
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
