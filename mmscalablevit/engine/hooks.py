"""Hooks that the command-line tools add to a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from mmscalablevit.checkpoints.loading import CheckpointError

from .pictures import draw_sample

LISTED = 5  # names in a message; the rest is counted


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers for distribution and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule("module")
    return model


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
        saved = checkpoint.get("state_dict", checkpoint)
        saved = {name.removeprefix("module."): value for name, value in saved.items()}
        expected = bare_model(runner.model).state_dict()
        problems = [
            f"{name} is missing"
            for name in expected
            if name not in saved and not name.endswith("num_batches_tracked")
        ]
        problems += [
            f"{name} has shape {tuple(saved[name].shape)}, the model needs {tuple(value.shape)}"
            for name, value in expected.items()
            if name in saved and saved[name].shape != value.shape
        ]
        problems += [
            f"{name} is not in the model"
            for name in saved
            if name not in expected and name.startswith("backbone.")
        ]
        if problems:
            listed = "".join(f"\n  {problem}" for problem in problems[:LISTED])
            more = len(problems) - LISTED
            rest = f"\n  ... and {more} more" if more > 0 else ""
            raise CheckpointError(
                "the checkpoint is not one of this config's model; test it with the config that "
                f"it was trained with:{listed}{rest}"
            )


@HOOKS.register_module()
class SavePicturesHook(Hook):
    """Save a picture of every test image with its prediction beside the truth.

    It does so in the same way for all frameworks. Of their own hooks, MMPretrain's draws the
    network's input, in the wrong channel order and not at all under test-time augmentation, and
    MMSegmentation's cannot be told a directory.

    Args:
        out_dir: Directory of the pictures. Each keeps the name of the image's folder, since
            images of different classes may have the same name.
        score_thr: Boxes with a lower score are not drawn.
    """

    priority = "LOW"

    def __init__(self, out_dir: str, score_thr: float = 0.3) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the images of a batch."""
        for sample in outputs or ():
            path = Path(sample.img_path)
            picture = self.out_dir / path.parent.name / f"{path.stem}.png"
            draw_sample(runner, sample, picture, self.score_thr)
