"""Whether the entries of a checkpoint are those of a model, and a backbone's pretrained weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmscalablevit.checkpoints.entries import LISTED, compare, unwrapped
from mmscalablevit.checkpoints.reading import Checkpoint, load_file
from mmscalablevit.errors import listed_below


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
        prefix: Prefix of the module's entries in the file, such as ``'backbone.'``. A released
            checkpoint has none.
        optional: Names, or beginnings of names, that the file may lack.

    Raises:
        FileNotFoundError: The file is missing; the message says how to make it.
        CheckpointError: It holds no weights, or cannot be read.
        ValueError: An entry is missing or has another shape; the message lists them.
    """
    wanted, kind = module.state_dict(), type(module).__name__
    start = next(iter(unwrapped({f"{prefix.rstrip('.')}.": None}))) if prefix else ""
    checkpoint = read_checkpoint(path)
    if checkpoint.is_released:
        start = "backbone."
    content = checkpoint.weights(f"{start}{name}" for name in wanted)
    given = {
        name.removeprefix(start): value for name, value in content.items() if name.startswith(start)
    }
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
            f"{listed_below(problems, LISTED)}\n{_remedy(next(iter(wanted)), start, content)}"
        )
    but = f" but {', '.join(fresh)}: the norms of maps that a classifier does not output start anew"
    print_log(f"{path} fills all entries of {kind}{but if fresh else ''}.", logger="current")
    return Filling({name: value for name, value in given.items() if name in wanted}, fresh)


def read_checkpoint(path: str) -> Checkpoint:
    """Read a file safely, or fetch one from an address as MMEngine does.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read.
    """
    if "://" in path:
        return Checkpoint(path, CheckpointLoader.load_checkpoint(path, map_location="cpu"))
    if not Path(path).expanduser().is_file():
        raise FileNotFoundError(
            f"the pretrained weights {path!r} do not exist. Name the released file, or the"
            " checkpoint of a classifier you trained"
        )
    return Checkpoint(path, load_file(path))


def _remedy(entry: str, start: str, names: Iterable[str]) -> str:
    """What to do about a checkpoint that does not match.

    Args:
        entry: A name of the module's.
        start: With what names were expected to begin.
        names: Those of the file.
    """
    starts = [name.removesuffix(entry) for name in names if f".{name}".endswith(f".{entry}")]
    if starts and start not in starts:
        return f"Its names begin otherwise: say prefix={starts[0] or None!r} in init_cfg."
    return "Use the weights of the same arch, released or trained: others do not fill it."
