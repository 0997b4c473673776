"""Weights for a backbone from a classifier's checkpoint, checked before they are used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmscalablevit.checkpoints.reading import find_state_dict, load_file

# How many names a message lists before it counts the rest.
LISTED = 12


def summarize(names: Iterable[str]) -> str:
    """List names one to a line, shortened to the first ones and a count."""
    names = list(names)
    lines = [f"  {name}" for name in names[:LISTED]]
    if len(names) > LISTED:
        lines.append(f"  ... and {len(names) - LISTED} more")
    return "\n".join(lines)


def read_state_dict(checkpoint: str, prefix: str | None) -> dict[str, Tensor]:
    """Read the entries below a prefix, with the prefix taken off.

    Args:
        checkpoint: A file, or an address that MMEngine loads from (``https://...``).
        prefix: Such as ``'backbone.'``; None for all entries.

    Returns:
        The entries by their names without the prefix; empty if none has it.

    Raises:
        FileNotFoundError: The file is missing; the message says how to make it.
        CheckpointError: It holds no weights, or cannot be read.
    """
    if "://" in checkpoint:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    elif not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f"the pretrained weights {checkpoint!r} do not exist. Convert the released ones with"
            f" `python tools/convert_checkpoint.py RELEASED.pth {checkpoint}`, or name the"
            f" checkpoint of a classifier you trained in"
            f" init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
        )
    else:
        content = load_file(checkpoint, map_location="cpu")
    state_dict = find_state_dict(content, checkpoint)
    if prefix is None:
        return state_dict
    prefix = prefix.rstrip(".") + "."
    return {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }


def check_pretrained(
    module: nn.Module, checkpoint: str, prefix: str | None, optional: Iterable[str]
) -> list[str]:
    """Make sure that a checkpoint fills every entry of a module.

    Args:
        module: The module whose weights are to be loaded.
        checkpoint: A file, or an address that MMEngine loads from.
        prefix: Prefix of the module's entries in the file, such as ``'backbone.'``.
        optional: Names, or beginnings of names, that the file may lack.

    Returns:
        Names of the optional entries that it lacks.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: An entry is missing or has another shape; the message lists them.
    """
    given = read_state_dict(checkpoint, prefix)
    wanted = module.state_dict()
    optional = tuple(optional)
    missing = [key for key in wanted if key not in given]
    fresh = [key for key in missing if key.startswith(optional)]
    problems = [f"missing: {key}" for key in missing if key not in fresh]
    problems += [
        f"shape: {key} is {tuple(given[key].shape)}, the model has {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    if problems:
        filled = len(wanted) - len(problems) - len(fresh)
        problems += [f"left over: {key}" for key in given if key not in wanted]
        raise ValueError(
            f"{checkpoint} fills {filled} of the {len(wanted)} entries of"
            f" {type(module).__name__} (prefix {prefix!r}):\n{summarize(problems)}\n"
            f"{_remedy(checkpoint)}"
        )
    if fresh:
        print_log(
            f"{checkpoint} fills all entries of {type(module).__name__} but {', '.join(fresh)}:"
            " the norms of maps that a classifier does not output start anew.",
            logger="current",
        )
    return fresh


def _remedy(checkpoint: str) -> str:
    """What to do about a checkpoint that does not match."""
    keys = read_state_dict(checkpoint, None)
    if any(key.startswith(("patch_embeds.", "layers.0.", "backbone.0.")) for key in keys):
        return f"It is a released checkpoint: run tools/convert_checkpoint.py {checkpoint} DST."
    if any(key.startswith("backbone.") for key in keys):
        return (
            "Use the weights of the same arch, with prefix='backbone.': other weights, or another"
            " prefix, do not fill it."
        )
    return "Use the weights of the same arch, made by tools/convert_checkpoint.py or by training."
