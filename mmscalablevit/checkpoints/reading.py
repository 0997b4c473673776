"""Loading checkpoint files without running code from them.

A checkpoint is a pickle, and unrestricted unpickling runs whatever the file asks for.
``torch.load(weights_only=True)`` builds tensors and plain containers only, plus what has been
allow-listed. MMEngine's checkpoints hold a little more than tensors (log histories, NumPy
scalars and arrays), released ones the command line of their training: that little is allowed here,
and nothing else. Released checkpoints get this package's names as they are read.
"""

from __future__ import annotations

import argparse
import builtins
import codecs
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import PickleHandler, register_handler
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader

from mmscalablevit.checkpoints.conversion import convert, looks_released
from mmscalablevit.checkpoints.entries import unwrapped
from mmscalablevit.errors import FAILURES, UsageError

try:
    from numpy._core import multiarray, numeric
except ImportError:  # NumPy 1
    from numpy.core import multiarray, numeric  # type: ignore[no-redef]

# An entry as torch takes it: a callable, or a callable and the name that files give it.
AllowedGlobal = Callable | tuple[Callable, str]

# What torch.load can raise on a file that is damaged or no checkpoint at all: its unpickler
# reads such a file as instructions, and any of them can fail.
_DAMAGE = (*FAILURES, MemoryError, pickle.UnpicklingError, struct.error)


class CheckpointError(UsageError, RuntimeError):
    """A checkpoint file cannot be used; the message names the file, the cause and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read, to be handed on and not read again.

    Attributes:
        path: The file.
        content: The object that was saved, its tensors on the CPU.
    """

    path: str
    content: Any

    def weights(self, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """The weights; see :func:`find_state_dict`."""
        return find_state_dict(self.content, self.path, wanted)

    @property
    def is_released(self) -> bool:
        """Whether the names of its entries are those of the authors' released checkpoints."""
        return looks_released(_named_entries(self.content))


# The methods that MMEngine's checkpoints refer to, by the class they belong to.
_METHODS: dict[object, tuple[str, ...]] = {
    HistoryBuffer: ("min", "max", "mean", "current"),
    OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
}


def _mmengine_method(owner: object, name: str) -> Callable:
    """Stand in for ``getattr``, which would open the way to any code: methods above only."""
    if not isinstance(owner, type) or name not in _METHODS.get(owner, ()):
        raise pickle.UnpicklingError("GLOBAL builtins.getattr beyond MMEngine's own methods")
    return getattr(owner, name)


def _empty_bytes() -> bytes:
    """Stand in for ``bytes``, by which pickle writes those of an empty array."""
    return b""


def mmengine_globals() -> list[AllowedGlobal]:
    """List what MMEngine's and released checkpoints hold beyond tensors and plain containers.

    NumPy 1 and 2 name the same functions differently; a file written with either loads with
    either. Arrays of Python objects are left out.
    """
    allowed: list[AllowedGlobal] = [
        HistoryBuffer,
        OneCycleParamScheduler,
        argparse.Namespace,  # of the programs that wrote the released checkpoints
        (_mmengine_method, "builtins.getattr"),
        (_empty_bytes, "builtins.bytes"),
        (np.ndarray, "numpy.ndarray"),
        (np.dtype, "numpy.dtype"),
    ]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed.append((multiarray._reconstruct, f"{module}._reconstruct"))
        allowed.append((multiarray.scalar, f"{module}.scalar"))
    # Restoring a dtype sets state on its class, which NumPy derives from np.dtype per kind.
    allowed += [type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"]
    return allowed


def load_file(path: str | os.PathLike, map_location: Any = "cpu") -> Any:
    """Load a checkpoint file; nothing in it is executed.

    Args:
        path: The file.
        map_location: As in ``torch.load``.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is empty, truncated, no checkpoint, or asks for code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist or is not a file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path} is empty; use an earlier one")
    if _is_safetensors(path):
        return _load_safetensors(path, map_location)
    if not hasattr(torch.serialization, "safe_globals"):
        raise CheckpointError(
            f"cannot load {path} safely with torch {torch.__version__}; install torch 2.6 or later"
        )
    # The context manager removes what it was given, so it gets only what is not there yet.
    known = torch.serialization.get_safe_globals()
    allowed = [entry for entry in mmengine_globals() if entry not in known]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True)
    except torch.OutOfMemoryError:  # the file is not to blame
        raise
    except _DAMAGE as error:
        raise CheckpointError(_explain(path, str(error))) from error


def _is_safetensors(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"  # after the length of the header


def _load_safetensors(path: Path, map_location: Any) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file as load_safetensors
    except ImportError:
        raise CheckpointError(
            f"checkpoint {path} is in the safetensors format, whose package is not installed:"
            " pip install safetensors"
        ) from None
    try:
        return load_safetensors(path, device=str(map_location))
    except SafetensorError as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged ({error}); copy it again or use an earlier one"
        ) from error


def _explain(path: Path, reason: str) -> str:
    """Say what is wrong with a file that ``torch.load(weights_only=True)`` turned down."""
    refused = re.search(r"GLOBAL ([\w.]+\w)", reason)
    if refused or "unrecognized function" in reason or "allowlisted" in reason:
        name = f"'{refused[1]}'" if refused else "code"
        return (
            f"checkpoint {path} asks to run {name}, which is neither a tensor nor part of "
            "MMEngine's checkpoints: refused, nothing was executed. If you trust the file, save "
            "its state dict alone with torch.save in the program that made it, and load that"
        )
    if "TorchScript" in reason:
        return (
            f"checkpoint {path} is a TorchScript program; save its weights alone: torch.save("
            f"torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')"
        )
    if "Attempting to deserialize object on" in reason:
        return f"checkpoint {path} was saved on a device that is not here; load it to the CPU"
    # Only the first sentence: torch goes on to recommend weights_only=False.
    sentence = reason.split("WeightsUnpickler error: ")[-1].split("\n")[0].split(". ")[0]
    return (
        f"checkpoint {path} is truncated, damaged or not a PyTorch checkpoint "
        f"({sentence or 'it ends too early'}); copy it again or use an earlier one"
    )


# Where files hold their weights; one with none of these is the weights themselves.
_PLACES = ("state_dict", "model", "ema_state_dict", "state_dict_ema", "model_ema")


def find_state_dict(
    content: Any, path: str | os.PathLike, wanted: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """Find the weights in a file's ``{'state_dict': weights, ...}``, or bare ones.

    Args:
        content: The file's content.
        path: The file, for the message.
        wanted: See :func:`saved_entries`.

    Returns:
        The tensors by their names, :func:`unwrapped`.

    Raises:
        CheckpointError: There are none, or nearly those of a released checkpoint.
    """
    try:
        named = saved_entries(content, wanted)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    weights = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    if not weights:
        raise CheckpointError(
            f"checkpoint {path} holds no weights: neither a state dict nor an entry 'state_dict';"
            " use a released one, or one that MMEngine wrote"
        )
    return weights


def saved_entries(content: Any, wanted: Iterable[str] = ()) -> dict[str, Any]:
    """Find what a file holds by the names of weights; a released checkpoint is converted.

    Args:
        content: What was saved.
        wanted: Names of a model's entries; an object around it, ``model.``, is taken off the
            names if these lack it.

    Returns:
        The entries by their names, :func:`.unwrapped`; moving averages only if there is nothing
        else.

    Raises:
        CheckpointError: It is nearly a released checkpoint; the message lists what differs.
    """
    named = _named_entries(content)
    if looks_released(named):
        try:
            return dict(convert(named).state_dict)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
    wanted = list(wanted)
    wrapped = bool(wanted) and all(name.startswith("model.") for name in named)
    if wrapped and not any(name.startswith("model.") for name in wanted):
        named = {name.removeprefix("model."): value for name, value in named.items()}
    return named


def _named_entries(content: Any) -> dict[str, Any]:
    entries = content if isinstance(content, Mapping) else {}
    places = (entries[name] for name in _PLACES if isinstance(entries.get(name), Mapping))
    return unwrapped(next(places, entries))


class UnsafeFileError(CheckpointError):
    """A file of pickled objects, such as annotations, asks for code."""


def _plain_globals() -> dict[str, Callable]:
    """List by name what pickles of plain objects ask for."""
    types = ("bytearray", "complex", "frozenset", "range", "set", "slice")
    named = {entry[1]: entry[0] for entry in mmengine_globals() if isinstance(entry, tuple)}
    return {
        **{f"builtins.{name}": getattr(builtins, name) for name in types},
        **{name: entry for name, entry in named.items() if name.startswith("numpy.")},
        # by which protocol 5 writes arrays
        "numpy.core.numeric._frombuffer": vars(numeric)["_frombuffer"],
        "numpy._core.numeric._frombuffer": vars(numeric)["_frombuffer"],
        "builtins.bytes": _empty_bytes,
        "_codecs.encode": codecs.encode,  # by which older protocols write bytes
        "collections.OrderedDict": OrderedDict,
    }


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain containers, numbers, texts and NumPy arrays only."""

    allowed = _plain_globals()

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full not in self.allowed:
            raise UnsafeFileError(
                f"a .pkl file that the config names asks to run '{full}', which is neither a "
                "container nor a NumPy array: refused, nothing was executed. If you trust the "
                "file, save its content as JSON"
            )
        return self.allowed[full]


class _PlainPickleHandler(PickleHandler):
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return _PlainUnpickler(file, **kwargs).load()


def use_safe_loading() -> None:
    """Make every checkpoint that MMEngine loads in this process go through safe loading.

    For the tools, which call it as they start: it changes the whole process. Local files are read
    by :func:`load_file`, for its messages. For the other places that call ``torch.load``
    (downloads, object stores, the frameworks' own code) torch's environment switch turns
    ``weights_only`` on, even where the caller turned it off. Other pickles that MMEngine reads,
    such as annotations, may hold plain objects and arrays.
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    if hasattr(torch.serialization, "safe_globals"):  # older torch has no list of what is allowed
        torch.serialization.add_safe_globals(mmengine_globals())
    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    register_handler(["pickle", "pkl"])(_PlainPickleHandler)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local file as MMEngine's ``CheckpointLoader`` asks for it (see :func:`load_file`)."""
    # None means "where it was saved", which fails on a machine without that device.
    return load_file(filename, map_location="cpu" if map_location is None else map_location)
