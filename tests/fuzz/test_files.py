"""Checkpoint files and state dicts that something has happened to."""

from __future__ import annotations

import functools
import io
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer

from mmscalablevit.checkpoints import CheckpointError, find_state_dict, load_file
from mmscalablevit.checkpoints.conversion import convert
from tests import golden
from tests.fuzz import damage, examples


class Dangerous:
    """An object that makes a directory when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(MARKER),)


MARKER = Path(tempfile.gettempdir()) / f"executed-{os.getpid()}"
CONTENT = {
    "meta": {"epoch": 3, "classes": ("a", "b"), "seed": None},
    "state_dict": {"backbone.w": torch.arange(6.0).reshape(2, 3), "head.b": torch.ones(2)},
    "message_hub": {"loss": HistoryBuffer([0.5, 0.25], [1, 1])},
}


def save(content: Any, zipped: bool) -> bytes:
    """A checkpoint's bytes, in torch's present format or in that before torch 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


FILES = [
    save(content, zipped)
    for content in (CONTENT, {**CONTENT, "hook": Dangerous()})
    for zipped in (True, False)
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A checkpoint that was cut or changed, or bytes at random behind the beginning of one."""
    if draw(st.integers(0, 3)):
        return damage(draw, draw(st.sampled_from(FILES)))
    return draw(st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02}"])) + draw(st.binary(max_size=300))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.slow
@examples(1000)
@given(content=damaged())
def test_a_damaged_file_is_read_or_refused_and_never_runs_code(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content)
    try:
        loaded = load_file(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "weights_only" not in str(error)
    else:
        check_weights_or_refusals(loaded)
    assert not MARKER.exists()


def check_weights_or_refusals(content: Any) -> None:
    """Weights are found or their absence told; conversion tells that nothing is released."""
    try:
        weights = find_state_dict(content, "x.pth")
    except CheckpointError as error:
        assert "x.pth" in str(error)
    else:
        assert weights and all(isinstance(name, str) for name in weights)
        assert all(isinstance(value, torch.Tensor) for value in weights.values())
    if isinstance(content, dict):
        with pytest.raises(ValueError, match=r".+"):
            convert(content)


def test_the_dangerous_files_are_dangerous() -> None:
    """Without the refusal, they would run their command: the test above can fail."""
    assert not MARKER.exists()
    torch.load(io.BytesIO(FILES[2]), weights_only=False)
    assert MARKER.is_dir()
    MARKER.rmdir()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(FILES[2]), weights_only=True)


LEAVES = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.just(torch.ones(2)), st.floats()
)
KEYS = st.one_of(st.sampled_from(["state_dict", "model", "x"]), st.integers())
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner)),
    max_leaves=8,
)


@examples(100)
@given(content=OBJECTS)
def test_any_object_is_weights_or_refused(content: Any) -> None:
    check_weights_or_refusals(content)


# Shapes alone: the conversion moves and joins entries, and looks at no value.
RELEASED = {
    name: {
        key: torch.empty(shape, device="meta")
        for key, shape in golden.released_shapes(name).items()
    }
    for name in ("lvt", "scalablevit_small", "stvit_small")
}


@functools.cache
def converted_shapes(name: str) -> dict[str, torch.Size]:
    """Names and shapes that a release is converted to as it is."""
    return {key: value.shape for key, value in convert(RELEASED[name]).state_dict.items()}


@pytest.mark.slow
@examples(50)
@given(name=st.sampled_from(list(RELEASED)), data=st.data())
def test_a_changed_release_is_converted_whole_or_refused(name: str, data: st.DataObject) -> None:
    """One entry is taken out, renamed, reshaped, added or replaced by what is no tensor."""
    released = dict(RELEASED[name])
    key = data.draw(st.sampled_from(sorted(released)))
    action = data.draw(st.sampled_from(["remove", "rename", "reshape", "add", "object", "order"]))
    if action == "remove":
        del released[key]
    elif action == "rename":
        released[data.draw(st.sampled_from([f"{key}x", f"module.{key}", "x"]))] = released.pop(key)
    elif action == "reshape":
        shape = (*released[key].shape, 2) if released[key].ndim else (3,)
        released[key] = torch.empty(shape, device="meta")
    elif action == "add":
        released[data.draw(st.text(min_size=1, max_size=8))] = torch.zeros(1)
    elif action == "object":
        released[key] = data.draw(st.one_of(st.none(), st.integers(), st.text(max_size=3)))
    else:
        released = {key: released[key] for key in data.draw(st.permutations(sorted(released)))}
    wrapped = data.draw(st.sampled_from(["model", "state_dict", None]))
    try:
        converted = convert({wrapped: released} if wrapped else released)
    except ValueError as error:
        assert str(error) and action != "order"
    else:
        # What was changed does not go into the result: STViT's constant kernels and counters.
        shapes = {key: value.shape for key, value in converted.state_dict.items()}
        assert shapes == converted_shapes(name)
