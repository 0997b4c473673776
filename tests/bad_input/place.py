"""The project in which a case makes its mistake, and the tools that are run there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmscalablevit.preflight import examination as preflight
from tests import tiny_projects

TOOLS = Path(__file__).resolve().parents[2] / "tools"

Case = Callable[["Place"], str]
CASES: dict[str, Case] = {}


def case(title: str) -> Callable[[Case], Case]:
    """Enter a function among the cases."""

    def enter(function: Case) -> Case:
        assert title not in CASES
        CASES[title] = function
        return function

    return enter


class Dangerous:
    """An object that runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class Place:
    """A project of a user, which is the current directory.

    Attributes:
        home: The directory.
        patch: Undone after the case.
    """

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.patch = patch

    def run(self, tool: str, *arguments: object) -> str:
        """Run a tool in this process.

        Returns:
            What it prints and the message that it ends with. Other exceptions than the one that
            ends a program pass through: a user would see a traceback.
        """
        self.patch.setattr(sys, "argv", [tool, *map(str, arguments)])
        shown, ending = io.StringIO(), ""
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            try:
                runpy.run_path(str(TOOLS / tool), run_name="__main__")
            except SystemExit as exit_:
                ending = exit_.code if isinstance(exit_.code, str) else ""
        return shown.getvalue() + ending

    def train(self, config: str = "classification.py", *arguments: object) -> str:
        return self.run("train.py", config, *arguments)

    def train_with(self, **options: Any) -> str:
        """Train the classifier with changed settings, ``__`` standing for each dot."""
        return self.train(
            "classification.py",
            "--cfg-options",
            *(f"{name.replace('__', '.')}={value}" for name, value in options.items()),
        )

    def test(self, checkpoint: object, config: str = "classification.py", *more: object) -> str:
        return self.run("test.py", config, checkpoint, *more)

    def preflight(self, config: str, checkpoint: Path | None = None) -> str:
        """The table of the preflight, without the look at the environment."""
        options = preflight.Options(config, str(checkpoint) if checkpoint else None)
        self.patch.setattr(preflight, "report", lambda: [])
        return "\n".join(map(preflight.render, preflight.examine(options)))

    def accepted(self, seen: str) -> str:
        """Make sure that a training went through to its checkpoint."""
        assert list(self.home.glob("work_dirs/*/*.pth")), seen
        return "accepted"

    def checkpoint(self, config: str = "classification.py", **changes: Any) -> Path:
        """A checkpoint of a config's model."""
        return tiny_projects.save_checkpoint(self.home / config, self.home / "good.pth", **changes)

    def dangerous(self, name: str = "evil.pth") -> Path:
        """A checkpoint with a command in it, which :meth:`harmless` looks for."""
        torch.save({"state_dict": {}, "x": Dangerous(self.home / "executed")}, self.home / name)
        with open(self.home / name, "rb") as file, pytest.raises(pickle.UnpicklingError):
            pickle.load(file)  # a zip archive: the pickle is inside
        return self.home / name

    def harmless(self, seen: str) -> str:
        """Make sure that the command was not run."""
        assert not (self.home / "executed").exists()
        return seen

    @property
    def images(self) -> list[Path]:
        """The classifier's training images."""
        return sorted(self.home.glob("data/pets/train/*/*.JPEG"))

    def replace_image(self, mode: str, suffix: str = ".png", **options: Any) -> Path:
        """Store the first training image in another mode.

        Returns:
            The new file.
        """
        old = self.images[0]
        new = old.with_suffix(suffix)
        image = Image.open(old).convert("RGB")
        old.unlink()
        image.convert(mode).save(new, **options)
        return new

    def label_map(self) -> Path:
        """The first label map of the segmentor's training."""
        return sorted(self.home.glob("data/digits/segmentation/annotations/training/*.png"))[0]

    def change_map(self, change: Callable[[np.ndarray], np.ndarray]) -> Path:
        """Change the values of the first label map."""
        path = self.label_map()
        labels = np.asarray(Image.open(path)).copy()
        Image.fromarray(change(labels)).save(path)
        return path

    def change_annotations(
        self, change: Callable[[dict[str, Any]], Any], split: str = "train", **written: Any
    ) -> None:
        """Change the content of the detector's annotations; ``written`` is how the file is."""
        path = self.home / f"data/digits/detection/annotations/instances_{split}2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content), **written)
