"""Exported files: made of models, compared with them, and put in their place."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmscalablevit.checkpoints import load_file
from mmscalablevit.errors import FAILURES, UsageError, first_line, listed_below
from mmscalablevit.export.formats import FORMATS, TRACED, Exported, Format, trace
from mmscalablevit.export.graphs import Graph, attach, names_of, plan
from mmscalablevit.export.quantization import quantize
from mmscalablevit.files import ensure_writable

# Batch, height and width of images that a file is compared at; none of them is TRACED.
SIZES = ((1, 64, 64), (3, 97, 130), (2, 224, 192))
TOLERANCE = 1e-4
COMPARED = 16  # images that int8 is compared on
COARSE = 0.5  # of more than that the cause is no rounding; what int8 costs, a test on data tells


class Deviation(NamedTuple):
    """How far an output of a file is from the model's.

    Attributes:
        name: The output.
        size: Batch, height and width of the images.
        value: The largest deviation, in the output's standard deviation, or in a hundredth of its
            largest value where that is more: one that is nearly constant has only its rounding. In
            int8 the root mean square in place of the largest. Of labels the share that differs.
    """

    name: str
    size: tuple[int, ...]
    value: float


def choose_format(path: str | os.PathLike) -> Format | None:
    """The format of a file by its name's ending; None if it is no exported file's."""
    formats = {form.suffix: form for form in FORMATS.values()}
    return formats.get(Path(path).suffix)


def require_packages(form: Format, int8: bool = False) -> None:
    """Check that what a format needs is installed.

    Raises:
        UsageError: Something is missing.
    """
    packages = (*form.packages, "nncf") if int8 else form.packages
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{form.suffix} files need {', '.join(missing)}: pip install -r requirements/export.txt"
        )


def rest_of(path: Path) -> Path:
    """The file beside an exported one with the weights of what is in no graph."""
    return path.with_suffix(".rest.pth")


def preprocessing(model: Any) -> dict[str, Any]:
    """What images go through on their way to a graph, in the order of the entries."""
    settings = model.data_preprocessor
    # MMPretrain's name, MMSegmentation's and MMEngine's.
    names = ("to_rgb", "channel_conversion", "_channel_conversion")
    swapped = any(getattr(settings, name, False) for name in names)
    normed = hasattr(settings, "mean")
    return {
        "channels": "RGB" if swapped else "BGR",
        "mean": settings.mean.flatten().tolist() if normed else [0.0],
        "std": settings.std.flatten().tolist() if normed else [1.0],
        "pad_size_divisor": getattr(settings, "pad_size_divisor", None) or 1,
    }


def export(
    model: Any,
    path: Path,
    config: Mapping[str, Any],
    dataset_meta: Mapping[str, Any],
    images: Sequence[Tensor] = (),
) -> list[Deviation]:
    """Write a model's graph to a file, once the file has been compared with the model.

    Args:
        model: The model on the CPU, in evaluation mode. It is used up.
        path: The file, whose ending says the format. Beside it lie its weights (OpenVINO), and
            those of what is in no graph.
        config: What the model was built of, in JSON's types.
        dataset_meta: Classes of the data that it was trained on, and their palette.
        images: Normalized images; then the graph computes in int8, calibrated with all but the last
            COMPARED, which it is compared on; with all, if there are no more.

    Returns:
        How far the file's outputs are from the model's.

    Raises:
        UsageError: The model or the machine cannot be used, or the file deviates: then it is not
            written, and one of that name is as it was.
    """
    form = choose_format(path)
    if form is None:
        endings = ", ".join(form.suffix for form in FORMATS.values())
        raise UsageError(f"{path}: the name of an exported file ends in one of {endings}")
    require_packages(form)
    graph = Graph(model).eval()
    ensure_writable(path.parent)
    nested = graph.nested(torch.zeros(TRACED))
    metadata = {
        "task": graph.plan.task,
        "preprocessing": preprocessing(model),
        "dataset_meta": dataset_meta,
        "outputs": names_of(nested),
        "tensors": list(graph(torch.zeros(TRACED))),
        "config": config,
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        new = Path(folder, path.name)
        try:
            form.write(trace(graph), metadata, new)
        except FAILURES as error:
            raise UsageError(
                f"{type(model).__name__} cannot be traced with free sizes: {first_line(error)}"
            ) from error
        sizes = padded(SIZES, metadata["preprocessing"]["pad_size_divisor"])
        deviations = compare(graph, form.read(new), noise(sizes), largest)
        require_close(path, deviations, TOLERANCE)
        if images:
            quantize(new, images[:-COMPARED] or images, metadata)
            resized = (
                F.interpolate(images[-1], sides, mode="bilinear").expand(batch, -1, -1, -1)
                for batch, *sides in sizes
            )
            exported = form.read(new)
            deviations = compare(graph, exported, images[-COMPARED:], typical)
            require_close(path, deviations, COARSE)
            # Larger than all that it was calibrated with, they may well be further away.
            others = compare(graph, exported, resized, typical)
            require_close(path, others, sys.float_info.max)
            deviations += others
        attach(model, form.read(new).run, metadata["outputs"])
        if rest := model.state_dict():
            torch.save({"state_dict": rest}, rest_of(new))
        # The file itself last: what it needs is there by then.
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == new):
            os.replace(file, path.with_name(file.name))
    return deviations


def padded(sizes: Iterable[tuple[int, ...]], divisor: int) -> list[tuple[int, ...]]:
    """Fill sizes up as a detector's images are: some heads take no others."""
    return [(batch, *(-(-side // divisor) * divisor for side in sides)) for batch, *sides in sizes]


def noise(sizes: Iterable[tuple[int, ...]]) -> Iterator[Tensor]:
    """Images (B, 3, H, W) of noise."""
    random = torch.Generator().manual_seed(0)
    for batch, height, width in sizes:
        yield torch.randn(batch, 3, height, width, generator=random)


def compare(
    graph: nn.Module,
    exported: Exported,
    batches: Iterable[Tensor],
    measure: Callable[[Tensor], Tensor],
) -> list[Deviation]:
    """Compare a file's outputs with a graph's in PyTorch.

    Args:
        graph: The graph.
        exported: The file.
        batches: Normalized images, (B, 3, H, W) each.
        measure: Makes one value of all differences.
    """
    deviations = []
    for images in batches:
        size = (images.shape[0], *images.shape[2:])
        expected: dict[str, Tensor] = graph(images)
        try:
            given = exported.run(images)
        except Exception as error:  # a graph that was tied to the traced size refuses others
            raise UsageError(
                f"the graph is tied to a size: of images {size} {first_line(error)}"
            ) from error
        deviations += [
            Deviation(name, size, deviation(given[name], value, measure))
            for name, value in expected.items()
        ]
    return deviations


def largest(differences: Tensor) -> Tensor:
    """The largest of several differences, whatever their sign."""
    return differences.abs().max()


def typical(differences: Tensor) -> Tensor:
    """The root mean square of several differences."""
    return differences.square().mean().sqrt()


def deviation(given: Tensor, expected: Tensor, measure: Callable[[Tensor], Tensor]) -> float:
    """How far an output is from the right one; see :class:`Deviation`."""
    if given.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return (given != expected).float().mean().item()
    unit = max(expected.std().item(), 0.01 * expected.abs().max().item())
    return measure(given - expected).item() / unit


def require_close(path: Path, deviations: Iterable[Deviation], tolerance: float) -> None:
    """Refuse a file whose outputs are not the model's.

    Raises:
        UsageError: A deviation is larger than the tolerance, or no number.
    """
    for name, size, value in deviations:
        if not value <= tolerance:
            raise UsageError(
                f"{path} is not written: at {'x'.join(map(str, size))} its output {name} deviates"
                f" by {value:.1e} of the std from the model's; up to {tolerance:.0e} is right"
            )


def read(path: Path) -> Exported:
    """Read an exported file.

    Raises:
        UsageError: It is missing, is no file of :func:`export`, or cannot be run here.
    """
    form = choose_format(path)
    assert form is not None, path
    if not path.is_file():
        raise UsageError(f"exported file {path} does not exist; tools/export.py makes it")
    require_packages(form)
    try:
        return form.read(path)
    except Exception as error:  # ONNX Runtime's errors have no other class in common
        raise UsageError(
            f"{path} cannot be read as a file of tools/export.py: {first_line(error)}"
        ) from error


def put_in_place(model: Any, exported: Exported) -> None:
    """Let a model compute by an exported file what is in it, in place.

    Args:
        model: A model of the settings that the file was made with; its weights do not matter.
        exported: The file. Beside it lie the weights of what is in no graph.

    Raises:
        UsageError: The file is of another model, or the weights beside it are missing.
    """
    path, task, metadata = exported.path, plan(model).task, exported.metadata
    if metadata["task"] != task:
        raise UsageError(f"{path} is a file for {metadata['task']}, the config's is for {task}")
    attach(model, exported.run, metadata["outputs"])
    wanted = set(model.state_dict())
    if not wanted:
        return
    rest = rest_of(path)
    if not rest.is_file():
        raise UsageError(
            f"{path} holds a part of the model alone; {rest.name}, which tools/export.py wrote"
            f" beside it, is missing"
        )
    weights = load_file(rest)["state_dict"]
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problems = str(error).split("\n")[1:]
        raise UsageError(
            f"{rest} does not fit the config's model:{listed_below(problems, 5)}"
        ) from error
