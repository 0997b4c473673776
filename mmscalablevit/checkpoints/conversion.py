"""The authors' released checkpoints, in this package's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmscalablevit.checkpoints.entries import LISTED, compare, unwrapped
from mmscalablevit.checkpoints.released import FAMILIES, Family, Rename, StateDict
from mmscalablevit.errors import listed_below

# Entries of a checkpoint file that hold a state dict; the second of each pair holds the moving
# average of the same weights.
STATE_DICT_ENTRIES = (("model", "model_ema"), ("state_dict", "state_dict_ema"))

NUM_STAGES = 4  # of all released models


class Converted(NamedTuple):
    """A released checkpoint in this package's names.

    Attributes:
        model: Name of the backbone, such as ``'ScalableViT'``.
        arch: Name of the architecture, such as ``'small'``.
        num_classes: Classes of its head; None if it has none.
        form: Which of the released forms it has, if there are several.
        state_dict: Weights of the ImageClassifier that our classification configs build.
    """

    model: str
    arch: str
    num_classes: int | None
    state_dict: StateDict
    form: str = ""

    @property
    def title(self) -> str:
        """Backbone, architecture and form: ``'ScalableViT-small'``, ``'LVT (class attention)'``."""
        name = self.model if self.arch == self.model.lower() else f"{self.model}-{self.arch}"
        return f"{name} ({self.form})" if self.form else name


def select_state_dict(checkpoint: Mapping[str, Any], ema: bool = False) -> Mapping[str, Tensor]:
    """Find the state dict in the contents of a checkpoint file.

    Args:
        checkpoint: ``{'model': state dict, ...}``, ``{'state_dict': ...}``, each possibly with
            a moving average in ``'model_ema'`` or ``'state_dict_ema'``; or the bare state dict.
        ema: Take the moving average. Without, it is taken only if there is nothing else.

    Raises:
        ValueError: There is none, or there are several, or it holds other things than tensors.
    """
    plain = [name for name, _ in STATE_DICT_ENTRIES if checkpoint.get(name) is not None]
    averaged = [name for _, name in STATE_DICT_ENTRIES if checkpoint.get(name) is not None]
    if ema and not averaged:
        wanted = " or ".join(repr(name) for _, name in STATE_DICT_ENTRIES)
        raise ValueError(f"the checkpoint holds no moving average: it has no entry {wanted}")
    names = averaged if ema or not plain else plain
    if len(names) > 1:
        raise ValueError(
            f"the checkpoint holds several state dicts ({', '.join(names)}): keep one of them"
        )
    state_dict = checkpoint[names[0]] if names else checkpoint
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise ValueError("the checkpoint holds no state dict")
    others = [
        key
        for key, value in state_dict.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if others:
        raise ValueError(
            "not a state dict; these entries are no tensors, or have no name:"
            f"{listed_below(others, LISTED)}"
        )
    return state_dict


def looks_released(names: Iterable[str]) -> bool:
    """Whether names are those of a released checkpoint, or of another program's much like it."""
    return any(name.startswith(("patch_embeds.", "layers.0.", "backbone.0.")) for name in names)


def rename(name: str, renames: Sequence[Rename]) -> str:
    """Bring a released name into ours; one that is unknown stays as it is."""
    for theirs, ours in renames:
        if found := re.match(re.escape(theirs).replace(r"\#", r"(\d+)"), name):
            for number in found.groups():
                ours = ours.replace("#", number, 1)
            return ours + name[found.end() :]
    return name


def expected_entries(family: Family, arch: str, num_classes: int) -> StateDict:
    """The classifier's entries, backbone and head, on PyTorch's meta device."""
    with torch.device("meta"):
        backbone = MODELS.build({"type": family.name, "arch": arch, **family.settings})
        parts = {"backbone": backbone}
        for name, layer in family.head(backbone.embed_dims[-1], num_classes).items():
            parts[f"head.{name}".rstrip(".")] = layer
    entries: StateDict = {}
    for name, part in parts.items():
        entries |= part.state_dict(prefix=f"{name}.")
    return entries


def recognize(state_dict: Mapping[str, Tensor]) -> tuple[Family, str]:
    """Tell the backbone from the entries' names, and its architecture from their shapes.

    Raises:
        ValueError: It is no released backbone, more than one, or of unknown widths.
    """
    found: dict[str, list[int]] = {}  # widths of the stages that have a family's entries
    for family in FAMILIES:
        names = [family.width_entry.format(stage=stage) for stage in range(NUM_STAGES)]
        entries = [state_dict[name] for name in names if name in state_dict]
        if entries:
            found[family.name] = [entry.shape[0] if entry.ndim else 0 for entry in entries]
    if not found:
        wanted = [f"{family.name}: {family.width_entry.format(stage=0)}" for family in FAMILIES]
        raise ValueError(
            "not a released checkpoint: it has none of the entries"
            f"{listed_below(dict.fromkeys(wanted), LISTED)}\n"
            f"Its entries are{listed_below(state_dict, LISTED)}"
        )
    if len(found) > 1:
        raise ValueError(
            f"a mixture: it has entries of {' and of '.join(found)}. Convert each checkpoint alone"
        )
    ((name, widths),) = found.items()
    family = next(f for f in FAMILIES if f.name == name and f.has_form(state_dict))
    arch = next((arch for arch, dims in family.widths.items() if list(dims) == widths), None)
    if arch is None:
        archs = "; ".join(f"{arch} {list(dims)}" for arch, dims in family.widths.items())
        raise ValueError(f"no released {name} has the widths {widths}; known are {archs}")
    return family, arch


def convert(checkpoint: Mapping[str, Any], ema: bool = False) -> Converted:
    """Convert a released checkpoint of ScalableViT, STViT or LVT.

    Args:
        checkpoint: Contents of the file; see :func:`select_state_dict`.
        ema: Take the moving average of the weights, where the file has both.

    Raises:
        ValueError: It is not a released checkpoint, or a mixture; the message lists the keys
            that differ.
    """
    released = unwrapped(select_state_dict(checkpoint, ema))
    if any(key.startswith("backbone.stages.") for key in released):
        raise ValueError(
            "the checkpoint is in this package's names already ('backbone.stages.'): use it as"
            " it is"
        )
    family, arch = recognize(released)
    try:
        adapted = family.adapt(released)
    except RuntimeError as error:  # entries that are to be joined
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"not a released {family.name}: its entries do not fit: {reason}"
        ) from error
    renamed = {rename(name, family.renames): value for name, value in adapted.items()}
    head = renamed.get(family.classes_entry)
    num_classes = 1000 if head is None or not head.ndim else head.shape[0]
    expected = expected_entries(family, arch, num_classes)
    classes = num_classes if family.classes_entry else None
    converted = Converted(family.name, arch, classes, renamed, family.form)
    missing, reshaped, unknown = compare(expected, renamed)
    differences = [f"missing: {name}" for name in missing]
    differences += [f"unknown: {name}" for name in unknown]
    differences += [
        f"shape: {name} is {tuple(renamed[name].shape)}, {converted.title} has"
        f" {tuple(expected[name].shape)}"
        for name in reshaped
    ]
    if differences:
        raise ValueError(f"not the released {converted.title}:{listed_below(differences, LISTED)}")
    return converted
