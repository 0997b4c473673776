"""The project in which a case makes its mistake, and the tools that are run there."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmscalablevit.preflight import examination as preflight
from tests import tiny_projects
from tests.in_process import run_tool

Messages = list[str]
Case = Callable[["Place"], Messages]


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

    def run(self, tool: str, *arguments: object) -> Messages:
        """What a tool ends with; if that is no error, each line that it shows."""
        ending = run_tool(tool, *arguments)
        return [ending.message] if ending.message else ending.shown.splitlines()

    def train(self, config: str = "classification.py", *arguments: object) -> Messages:
        return self.run("train.py", config, *arguments)

    def train_with(self, **options: Any) -> Messages:
        """Train the classifier with changed settings, ``__`` standing for each dot."""
        settings = [f"{name.replace('__', '.')}={value}" for name, value in options.items()]
        return self.train("classification.py", "--cfg-options", *settings)

    def train_file(self, name: str, content: str) -> Messages:
        """Train with a file as the config."""
        (self.home / name).write_text(content)
        return self.train(name)

    def edited(self, old: str, new: str) -> str:
        """The classifier's config with something replaced in its text."""
        content = (self.home / "classification.py").read_text()
        assert old in content
        (self.home / "own.py").write_text(content.replace(old, new))
        return "own.py"

    def train_edited(self, old: str, new: str) -> Messages:
        return self.train(self.edited(old, new))

    def train_from(self, weights: object) -> Messages:
        """Train from a backbone's weights."""
        init_cfg = f"dict(type='Pretrained', checkpoint={str(weights)!r}, prefix='backbone.')"
        return self.train_edited('type="ScalableViT",', f'type="ScalableViT", init_cfg={init_cfg},')

    def test(self, checkpoint: object, *more: object) -> Messages:
        """Test the classifier."""
        return self.run("test.py", "classification.py", checkpoint, *more)

    def preflight(
        self, config: str = "classification.py", checkpoint: Path | None = None
    ) -> Messages:
        """The preflight's findings, without the look at the environment."""
        options = preflight.Options(config, str(checkpoint) if checkpoint else None)
        self.patch.setattr(preflight, "report", lambda: [])
        return [preflight.render(finding) for finding in preflight.examine(options)]

    def accepted(self, messages: Messages, note: str | None = None) -> Messages:
        """Make sure that a training went through to its checkpoint."""
        assert list(self.home.glob("work_dirs/*/*.pth")), messages
        return [f"accepted: {note}"] if note else [f"accepted; {text}" for text in messages]

    def checkpoint(self, config: str = "classification.py", **changes: Any) -> Path:
        """A checkpoint of a config's model."""
        return tiny_projects.save_checkpoint(self.home / config, self.home / "good.pth", **changes)

    def file(self, name: str, content: bytes) -> str:
        """Write a file."""
        (self.home / name).write_bytes(content)
        return name

    def saved(self, name: str, content: object) -> str:
        """Write what a checkpoint may hold."""
        torch.save(content, self.home / name)
        return name

    def dangerous(self, name: str = "evil.pth") -> Path:
        """A checkpoint with a command in it, which :meth:`harmless` looks for."""
        self.saved(name, {"state_dict": {}, "x": Dangerous(self.home / "executed")})
        with open(self.home / name, "rb") as file, pytest.raises(pickle.UnpicklingError):
            pickle.load(file)  # a zip archive: the pickle is inside
        return self.home / name

    def harmless(self, messages: Messages) -> Messages:
        """Make sure that the command was not run."""
        assert not (self.home / "executed").exists()
        return messages

    def files(self, pattern: str) -> list[Path]:
        """The files below ``data`` of a pattern."""
        found = sorted((self.home / "data").glob(pattern))
        assert found
        return found

    def remove(self, pattern: str) -> None:
        for path in self.files(pattern):
            path.unlink()

    @property
    def image(self) -> Path:
        """The first of the classifier's training images."""
        return self.files("pets/train/*/*.JPEG")[0]

    def replace_image(self, mode: str, suffix: str = ".png", **options: Any) -> Path:
        """Store the first training image in another mode.

        Returns:
            The new file.
        """
        old = self.image
        new = old.with_suffix(suffix)
        image = Image.open(old).convert("RGB")
        old.unlink()
        image.convert(mode).save(new, **options)
        return new

    def change_map(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the values of the first label map."""
        path = self.files("digits/segmentation/annotations/training/*.png")[0]
        labels = np.asarray(Image.open(path)).copy()
        Image.fromarray(change(labels)).save(path)

    def change_annotations(
        self, change: Callable[[dict[str, Any]], Any], split: str = "train", **written: Any
    ) -> None:
        """Change the content of the detector's annotations; ``written`` is how the file is."""
        path = self.home / f"data/digits/detection/annotations/instances_{split}2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content), **written)
