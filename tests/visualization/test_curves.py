"""Learning curves are what the log says, without what a resumed start has undone."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import pytest
from mmengine.visualization import LocalVisBackend

from mmscalablevit.errors import UsageError
from mmscalablevit.visualization.curves import draw_curves, read_curves


def log(work_dir: Path, start: str, losses: dict[int, float], scores: dict[int, float]) -> None:
    """Log a start of a training that counts epochs, as MMEngine does."""
    backend = LocalVisBackend(str(work_dir / start / "vis_data"))
    for step, loss in losses.items():
        backend.add_scalars({"loss": loss, "epoch": step // 2, "iter": step}, step=step)
    for epoch, score in scores.items():
        backend.add_scalars({"accuracy/top1": score}, step=epoch)


def test_a_resumed_start_takes_the_place_of_what_it_repeats(tmp_path: Path) -> None:
    log(tmp_path, "20260101_000000", {2: 4.0, 4: 3.0, 6: 2.0}, {1: 30.0, 2: 40.0, 3: 99.0})
    log(tmp_path, "20260102_000000", {6: 2.5, 8: 1.0}, {3: 50.0, 4: 60.0})
    curves = read_curves(tmp_path)
    assert curves["loss"] == {2: 4.0, 4: 3.0, 6: 2.5, 8: 1.0}
    assert curves["accuracy/top1"] == {1: 30.0, 2: 40.0, 3: 50.0, 4: 60.0}
    names = ["loss", "accuracy/top1"]
    draw_curves([("a", tmp_path), ("b", tmp_path)], names, tmp_path / "new/curves.png")
    picture = matplotlib.image.imread(tmp_path / "new/curves.png")
    assert picture.shape[1] > 2 * picture.shape[0]  # two plots side by side


def test_what_is_not_logged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no log of a training"):
        read_curves(tmp_path)
    log(tmp_path, "20260101_000000", {2: 4.0}, {1: 30.0})
    with pytest.raises(UsageError, match="no top1\n  did you mean accuracy/top1"):
        draw_curves([("a", tmp_path)], ["top1"], tmp_path / "curves.png")
    file = tmp_path / "20260101_000000/vis_data/scalars.json"
    file.write_text(json.dumps({"loss": 1, "step": 1}) + '\n{"loss"')
    with pytest.raises(UsageError, match="line 2 is damaged"):
        read_curves(tmp_path)
