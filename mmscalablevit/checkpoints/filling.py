"""Whether the entries of a checkpoint are those of a model, and a backbone's pretrained weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmscalablevit.checkpoints.reading import Checkpoint, load_file
from mmscalablevit.errors import listed_below

LISTED = 12  # entries in a message; the rest is counted


class Comparison(NamedTuple):
    """What keeps the entries of a checkpoint from being those of a model.

    Attributes:
        missing: Those that the checkpoint lacks.
        reshaped: Those that have another shape there.
        unknown: Those that only the checkpoint has.
    """

    missing: list[str]
    reshaped: list[str]
    unknown: list[str]


def compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Comparison:
    """Compare the names and shapes of a model's entries with those of a checkpoint."""
    missing = [name for name in wanted if name not in given]
    both = [name for name in wanted if name in given]
    reshaped = [name for name in both if wanted[name].shape != given[name].shape]
    return Comparison(missing, reshaped, [name for name in given if name not in wanted])


class Filling(NamedTuple):
    """Pretrained weights that fill a module.

    Attributes:
        weights: The weights by the module's own names.
        fresh: Names of the entries that start anew, since the file's model did not have them.
    """

    weights: dict[str, Tensor]
    fresh: list[str]


def read_filling(
    module: nn.Module, path: str, prefix: str | None, optional: Iterable[str]
) -> Filling:
    """Read the weights for a module, which may lie on the meta device, and see that they fill it.

    Args:
        module: The module.
        path: A file, or an address that MMEngine loads from (``https://...``).
        prefix: Prefix of the module's entries in the file, such as ``'backbone.'``.
        optional: Names, or beginnings of names, that the file may lack.

    Raises:
        FileNotFoundError: The file is missing; the message says how to make it.
        CheckpointError: It holds no weights, or cannot be read.
        ValueError: An entry is missing or has another shape; the message lists them.
    """
    content = _read(path).weights
    start = "" if prefix is None else f"{prefix.rstrip('.')}.".removeprefix("module.")
    given = {
        name.removeprefix(start): value for name, value in content.items() if name.startswith(start)
    }
    wanted, kind = module.state_dict(), type(module).__name__
    missing, reshaped, unknown = compare(wanted, given)
    fresh = [name for name in missing if name.startswith(tuple(optional))]
    problems = [f"missing: {name}" for name in missing if name not in fresh]
    problems += [
        f"shape: {name} is {tuple(given[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in reshaped
    ]
    if problems:
        filled = len(wanted) - len(missing) - len(reshaped)
        problems += [f"left over: {name}" for name in unknown]
        raise ValueError(
            f"{path} fills {filled} of the {len(wanted)} entries of {kind} (prefix {prefix!r}):"
            f"{listed_below(problems, LISTED)}\n{_remedy(path, content)}"
        )
    but = f" but {', '.join(fresh)}: the norms of maps that a classifier does not output start anew"
    print_log(f"{path} fills all entries of {kind}{but if fresh else ''}.", logger="current")
    return Filling({name: value for name, value in given.items() if name in wanted}, fresh)


def _read(path: str) -> Checkpoint:
    if "://" in path:
        return Checkpoint(path, CheckpointLoader.load_checkpoint(path, map_location="cpu"))
    if not Path(path).expanduser().is_file():
        raise FileNotFoundError(
            f"the pretrained weights {path!r} do not exist. Convert the released ones with"
            f" `python tools/convert_checkpoint.py RELEASED.pth {path}`, or name the"
            f" checkpoint of a classifier you trained in"
            f" init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
        )
    return Checkpoint(path, load_file(path))


def _remedy(path: str, names: Iterable[str]) -> str:
    """What to do about a checkpoint that does not match."""
    if any(name.startswith(("patch_embeds.", "layers.0.", "backbone.0.")) for name in names):
        return f"It is a released checkpoint: run tools/convert_checkpoint.py {path} DST."
    if any(name.startswith("backbone.") for name in names):
        return (
            "Use the weights of the same arch, with prefix='backbone.': other weights, or another"
            " prefix, do not fill it."
        )
    return "Use the weights of the same arch, made by tools/convert_checkpoint.py or by training."
