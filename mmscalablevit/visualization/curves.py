"""Learning curves of trainings, drawn from what MMEngine has logged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mmscalablevit.errors import UsageError, near_names
from mmscalablevit.visualization import figures

Curve = dict[int, float]  # values by steps


def read_curves(work_dir: Path) -> dict[str, Curve]:
    """Read what all starts of a training have logged.

    Args:
        work_dir: The work directory, which has a folder for each start.

    Returns:
        Values by their names and steps: iterations, or of validations of a training that counts
        epochs, epochs. What a start has logged after the point that a later one went back to is
        left out.

    Raises:
        UsageError: There is no log, or a line of it cannot be read.
    """
    curves: dict[str, Curve] = {}
    for log in sorted(work_dir.glob("*/vis_data/scalars.json")):
        resumed: set[str] = set()
        for step, values in _read_log(log):
            for name in values:
                curve = curves.setdefault(name, {})
                if name not in resumed:
                    curves[name] = {old: curve[old] for old in curve if old < step}
                    resumed.add(name)
                curves[name][step] = values[name]
    if not curves:
        raise UsageError(f"{work_dir} has no log of a training (*/vis_data/scalars.json)")
    return curves


def _read_log(log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            yield values.pop("step"), values
        except (ValueError, KeyError, AttributeError):
            raise UsageError(f"{log}: line {number} is damaged, take it out") from None


def draw_curves(runs: Sequence[tuple[str, Path]], names: Sequence[str], out: Path) -> None:
    """Draw curves of trainings, those of a name in a plot of their own.

    Args:
        runs: Titles and work directories.
        names: What to draw, such as ``loss`` and ``accuracy/top1``.
        out: The PNG to write.

    Raises:
        UsageError: A training has not logged what is to be drawn; near names are offered.
    """
    logged = [(title, work_dir, read_curves(work_dir)) for title, work_dir in runs]
    for _, work_dir, curves in logged:
        if absent := [name for name in names if name not in curves]:
            near = near_names(Path(absent[0]), map(Path, sorted(curves)))
            has = near or f"\n  it has {', '.join(sorted(curves))}"
            raise UsageError(f"{work_dir} has logged no {absent[0]}{has}")
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for title, _, curves in logged:
            curve = curves[name]
            marker = "o" if len(curve) < 60 else ""
            axes.plot(curve.keys(), curve.values(), marker=marker, markersize=3, label=title)
        axes.set(title=name, xlabel=_unit(name, curves))
        axes.grid(alpha=0.3)
    axes.legend()
    figures.save(figure, out)


def _unit(name: str, curves: dict[str, Curve]) -> str:
    """What the steps of a curve count; trainings have their losses by iterations."""
    trained = curves[name].keys() <= curves.get("iter", {}).keys()
    return "iteration" if trained or "epoch" not in curves else "epoch"
