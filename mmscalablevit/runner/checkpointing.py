"""Writing checkpoints so that no fault costs a good one."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmscalablevit.checkpoints.reading import CheckpointError
from mmscalablevit.errors import UsageError
from mmscalablevit.files import write_whole
from mmscalablevit.models.wrappers import bare_model
from mmscalablevit.runner.loops import ResumableEpochLoop, ResumableIterLoop
from mmscalablevit.runner.random_states import current_states, restore_states
from mmscalablevit.runner.resume import note_last
from mmscalablevit.runner.schedules import follow_config

# So often in a row may checkpoints fail to be written before the training stops.
_PATIENCE = 3

_GIB = 2**30

# A checkpoint within an epoch, between those of its start and its end.
_WITHIN_EPOCH = re.compile(r"epoch_\d+_iter_\d+\.pth")

_BACKEND = "mmscalablevit"


@register_backend(_BACKEND)
class WholeFileBackend(LocalBackend):
    """Local files that appear under their name only when they are complete."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write a file whole or not at all."""
        write_whole(filepath, obj)


class LateRemoval:
    """A file backend that removes files when it is told to: when the new ones are written.

    MMEngine's hook removes an old checkpoint before it writes the new one. A crash in between
    would cost both.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._waiting: list[tuple[Any, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Let a file wait for its removal."""
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Let a directory wait for its removal."""
        self._waiting.append((self._backend.rmtree, path))

    def end_waiting(self, remove: bool) -> None:
        """Remove what waits for it, or let it be."""
        waiting, self._waiting = self._waiting, []
        for remove_one, path in waiting if remove else ():
            remove_one(path)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, with the same arguments, for runs that last days.

    - A local checkpoint is there whole or not at all.
    - An old checkpoint is removed after the new one is written, not before.
    - If one cannot be written, as the disk is full, training goes on and tries again at the next
      interval. It stops at the third failure in a row, and where the last checkpoint fails.
    - Weights that are infinite or no numbers are not saved.
    - Checkpoints hold the states of the random number generators of all processes. Validation
      leaves these as they were: it is not run again where training goes on.
    - A training can be saved at any iteration.

    Attributes:
        last_good: Path of the newest checkpoint that is known to be whole.
    """

    last_good: str | None = None
    file_backend: Any
    backend_args: dict[str, Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        local = "://" not in str(self.out_dir or "")
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = {"backend": _BACKEND}
        self._failures = 0
        self._resumed: dict[str, Any] | None = None
        self._random_states: list[dict[str, Any]] = []
        self._before_val: dict[str, Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take from a checkpoint what MMEngine does not."""
        if not runner.cfg.get("resume"):
            return
        self.last_good = runner.cfg.load_from
        states = checkpoint.get("random_states", [])
        if len(states) == runner.world_size:
            self._resumed = states[get_rank()]
        done, total = checkpoint.get("epoch_progress", (0, 1))
        loop, meta, length = runner.train_loop, checkpoint["meta"], len(runner.train_dataloader)
        if isinstance(loop, ResumableEpochLoop):
            # An epoch has another length if the batch size is another.
            loop.position = done * length // total
            meta["iter"] = meta["epoch"] * length + loop.position
            follow_config(runner, checkpoint, meta["epoch"], loop.position)
        elif isinstance(loop, ResumableIterLoop):
            follow_config(runner, checkpoint, 0, meta["iter"])

    def before_train(self, runner: Runner) -> None:
        """Prepare saving, and go on with the random numbers of the resumed run.

        Raises:
            UsageError: The disk has no room for a checkpoint.
        """
        super().before_train(runner)
        self.file_backend = LateRemoval(self.file_backend)
        state = bare_model(runner.model).state_dict()
        weights = sum(value.nbytes for value in state.values() if torch.is_tensor(value))
        free = _free_space(self.out_dir)
        if free is not None and free < weights:
            raise UsageError(
                f"{self.out_dir} has {free / _GIB:.1f} GiB left, and the weights of one checkpoint "
                f"are {weights / _GIB:.1f} GiB; free space, or choose another --work-dir"
            )
        if self._resumed is not None:
            restore_states(self._resumed)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add to a checkpoint what MMEngine leaves out."""
        if "optimizer" not in checkpoint:
            return  # not one to go on from
        checkpoint["random_states"] = self._random_states
        if isinstance(runner.train_loop, ResumableEpochLoop):
            within = checkpoint["meta"]["epoch"] == runner.epoch  # not at the end of an epoch
            position = runner.train_loop.position if within else 0
            checkpoint["epoch_progress"] = (position, len(runner.train_dataloader))

    def before_val(self, runner: Runner) -> None:
        """Keep the random numbers of the training."""
        self._before_val = current_states()
        self._random_states = all_gather_object(self._before_val)

    def after_val(self, runner: Runner) -> None:
        """Go on with the random numbers of the training."""
        if self._before_val is not None:
            restore_states(self._before_val)
        self._before_val = None

    @contextlib.contextmanager
    def _saving(self, runner: Runner) -> Iterator[None]:
        """Take back what MMEngine has noted of a checkpoint that cannot be written.

        Only where it can be, those that it supersedes are removed.
        """
        info, noted = runner.message_hub.runtime_info, dict(runner.message_hub.runtime_info)
        before = dict(self.__dict__)
        for name in ("keep_ckpt_ids", "best_ckpt_path_dict"):
            if name in before:
                before[name] = copy.copy(before[name])
        try:
            yield
        except OSError:
            self.__dict__.update(before)
            info.clear()
            info.update(noted)
            self.file_backend.end_waiting(remove=False)
            raise
        self.file_backend.end_waiting(remove=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best checkpoint, if this is one."""
        try:
            with self._saving(runner):
                super().after_val_epoch(runner, metrics)
        except OSError as error:
            runner.logger.error(
                f"the best checkpoint cannot be written: {error.strerror}. The one before is kept, "
                "training goes on"
            )

    def save_interrupted(self, runner: Runner, in_validation: bool) -> str | None:
        """Save a run that is about to end, to be called in all processes.

        It is after an iteration of training or in a validation, which is not repeated.

        Returns:
            The checkpoint; None if it could not be written.
        """
        count = runner.iter if in_validation else runner.iter + 1
        meta = {"epoch": runner.epoch, "iter": count}
        if in_validation:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # puts back what the average has replaced
        if not self.by_epoch or in_validation:
            step = runner.epoch if self.by_epoch else count
            if self.last_good == self._path(step):
                return self.last_good  # a moment ago
            self._save_checkpoint_with_step(runner, step, meta)
            return self.last_good if self.last_good == self._path(step) else None
        _require_finite(runner, self.last_good)
        self._random_states = all_gather_object(current_states())
        name = f"epoch_{runner.epoch}_iter_{count}.pth"
        try:
            runner.save_checkpoint(
                self.out_dir, name, meta=meta, by_epoch=False, backend_args=self.backend_args
            )
        except OSError as error:
            runner.logger.error(f"{name} cannot be written: {error.strerror}")
            return None
        path = self.file_backend.join_path(self.out_dir, name)
        self._succeed(runner, path)
        if is_main_process():
            note_last(runner.work_dir, path)
        return path

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, and remove those that it supersedes."""
        _require_finite(runner, self.last_good)
        if self._before_val is None:
            self._random_states = all_gather_object(current_states())
        try:
            with self._saving(runner):
                super()._save_checkpoint_with_step(runner, step, meta)
        except OSError as error:
            self._fail(runner, self._path(step), error)
        else:
            self._succeed(runner, self._path(step))

    def _fail(self, runner: Runner, path: str, error: OSError) -> None:
        """Say that a checkpoint could not be written.

        Raises:
            CheckpointError: It was the last one, or one of several in a row.
        """
        self._failures += 1
        last = f"the last good one is {self.last_good}" if self.last_good else "there is none yet"
        message = f"checkpoint {path} cannot be written: {error.strerror}; {last}"
        if self._failures >= _PATIENCE or runner.iter + 1 >= runner.max_iters:
            raise CheckpointError(f"{message}. Free space and go on with --resume auto") from error
        runner.logger.error(
            f"{message}. Training goes on and tries again at the next interval: free space before"
        )

    def _succeed(self, runner: Runner, path: str) -> None:
        """Note a checkpoint that was written, and remove older ones from within an epoch."""
        self._failures = 0
        self.last_good = path
        if not is_main_process() or not os.path.isdir(self.out_dir):
            return
        for file in Path(self.out_dir).iterdir():
            if _WITHIN_EPOCH.fullmatch(file.name) and file != Path(path):
                file.unlink(missing_ok=True)
        free, size = _free_space(self.out_dir), os.path.getsize(path)
        if free is not None and free < size:
            runner.logger.warning(
                f"{self.out_dir} has {free / _GIB:.1f} GiB left, too little for another checkpoint "
                f"of {size / _GIB:.1f} GiB: free space before the next one"
            )


def _free_space(directory: str) -> int | None:
    """The free bytes of a local directory's disk; None of another."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _require_finite(runner: Runner, last_good: str | None) -> None:
    """Keep weights that are not finite from taking the place of good ones.

    Raises:
        UsageError: Some are infinite or no numbers.
    """
    for name, value in bare_model(runner.model).state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            last = f"go on from {last_good}" if last_good else "start again"
            raise UsageError(
                f"{name} is infinite or no number at iteration {runner.iter + 1}: nothing was "
                f"saved. Lower the learning rate, clip gradients (optim_wrapper.clip_grad), or "
                f"train without --amp; {last}"
            )
