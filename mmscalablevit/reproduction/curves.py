"""Learning curves as pictures inside a page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from mmscalablevit.reproduction.collecting import RunReport
from mmscalablevit.reproduction.logs import Record
from mmscalablevit.reproduction.published import Metric, Table

_BLUE, _ORANGE, _GREY = "#1f6fb4", "#c8591a", "#8a8f98"
_WIDTH, _HEIGHT = 4.2, 2.3  # inches of one diagram
_MOST_POINTS = 1500  # more cannot be seen


def draw_curves(table: Table, report: RunReport, reference: Mapping[str, float]) -> str | None:
    """Draw the loss and the validated figures of a run.

    Args:
        table: The table, for the names of its columns.
        report: The run.
        reference: Published figures by column, drawn as lines.

    Returns:
        A picture as a ``data:`` address; None where there is nothing to draw.
    """
    curve = report.curve
    metrics = {
        column: metric
        for column, metric in report.training.run.metrics.items()
        if column in table.columns and any(metric.key in record.values for record in curve.val)
    }
    losses = [record for record in curve.train if "loss" in record.values]
    if not losses and not metrics:
        return None
    count = bool(losses) + len(metrics)
    canvas = Canvas(figsize=(_WIDTH * count, _HEIGHT), layout="constrained")
    axes = list(canvas.subplots(1, count, squeeze=False)[0])
    if losses:
        _draw_loss(axes.pop(0), report, losses)
    for column, metric in metrics.items():
        title = f"{table.columns[column].title} ({table.columns[column].unit})"
        _draw_metric(axes[0], report, metric, title, reference.get(column))
        axes.pop(0)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thinned(records: Sequence[Record]) -> Sequence[Record]:
    """Keep every n-th record, and the last one."""
    step = math.ceil(len(records) / _MOST_POINTS)
    return records if step < 2 else [*records[:-1:step], records[-1]]


def _draw_loss(axes: Axes, report: RunReport, losses: Sequence[Record]) -> None:
    records = _thinned(losses)
    x = [record.iteration for record in records]
    y = [record.values["loss"] for record in records]
    axes.plot(x, y, color=_BLUE, linewidth=0.9)
    for iteration in report.curve.resumed:
        axes.axvline(iteration, color=_GREY, linewidth=0.8, linestyle=":")
    title = "Training loss"
    if report.curve.resumed:
        title += " (dotted: resumed)"
    _dress(axes, title, "iteration")
    finite = sorted(value for value in y if math.isfinite(value))
    if finite and finite[0] > 0 and finite[-1] > 20 * finite[len(finite) // 2]:
        axes.set_yscale("log")


def _draw_metric(
    axes: Axes, report: RunReport, metric: Metric, title: str, reference: float | None
) -> None:
    records = [record for record in report.curve.val if metric.key in record.values]
    x = [record.step for record in records]
    y = [record.values[metric.key] * metric.scale for record in records]
    axes.plot(x, y, color=_BLUE, linewidth=1.1, marker="o", markersize=3)
    if reference is not None:
        axes.axhline(reference, color=_ORANGE, linewidth=1, linestyle="--")
        axes.annotate(
            f"{reference:g}",
            (0.01, reference),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            color=_ORANGE,
            fontsize=7,
        )
    length = report.training.schedule.length
    axes.set_xlim(0, max([length, *x]) * 1.02)
    _dress(axes, title, report.training.schedule.unit)


def _dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_xlabel(unit, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
