"""Hooks that the command-line tools add to a run."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmscalablevit.checkpoints.entries import compare
from mmscalablevit.checkpoints.reading import CheckpointError, saved_entries
from mmscalablevit.errors import listed_below
from mmscalablevit.models.wrappers import bare_model

LISTED = 5  # names in a message; the rest is counted


@HOOKS.register_module()
class MatchingCheckpointHook(Hook):
    """Stop where a checkpoint is not one of this model.

    MMEngine loads what fits and logs the rest; a test then reports the accuracy of a partly
    random network. Entries that only the checkpoint has are let pass outside the backbone: a
    head may have been left out of the test on purpose.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes.

        Raises:
            CheckpointError: The checkpoint is of another model.
        """
        wanted = bare_model(runner.model).state_dict()
        saved = saved_entries(checkpoint, wanted)
        missing, reshaped, unknown = compare(wanted, saved)
        problems = [
            f"{name} is missing" for name in missing if not name.endswith("num_batches_tracked")
        ]
        problems += [
            f"{name} has shape {tuple(saved[name].shape)}, the model needs"
            f" {tuple(wanted[name].shape)}"
            for name in reshaped
        ]
        problems += [
            f"{name} is not in the model" for name in unknown if name.startswith("backbone.")
        ]
        if problems:
            raise CheckpointError(
                "the checkpoint is not one of this config's model; test it with the config that "
                f"it was trained with:{listed_below(problems, LISTED)}"
            )
