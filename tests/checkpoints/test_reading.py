from __future__ import annotations

import argparse
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

import mmengine
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmscalablevit.checkpoints.reading import (
    CheckpointError,
    UnsafeFileError,
    load_file,
    load_from_local,
    use_safe_loading,
)
from tests.runner.toy_run import build_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a run with everything that leaves a trace in one."""
    directory = tmp_path_factory.mktemp("trained")
    schedulers = [
        {"type": "LinearLR", "start_factor": 0.1, "end": 3, "by_epoch": False},
        {"type": "CosineAnnealingLR", "T_max": 2},
        {"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 10, "by_epoch": False},
        {"type": "ReduceOnPlateauLR", "monitor": "loss"},
    ]
    optim = {"accumulative_counts": 2}
    run = build_run(
        directory, length=2, hooks=[{"type": "EMAHook"}], optim=optim, schedulers=schedulers
    )
    run.train()
    return directory / "epoch_2.pth"


class Dangerous:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write_pickle(path, program: bytes) -> None:
    """Write a checkpoint whose pickle is given byte by byte."""
    torch.save({"x": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, program if name.endswith("/data.pkl") else content)


def test_mmengine_checkpoint_loads_with_all_its_content(trained):
    checkpoint = load_file(trained)
    unrestricted = torch.load(trained, weights_only=False)
    assert (
        checkpoint.keys()
        == unrestricted.keys()
        >= {
            "state_dict",
            "ema_state_dict",
            "optimizer",
            "param_schedulers",
            "message_hub",
            "meta",
        }
    )
    ours = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    theirs = unrestricted["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(ours, HistoryBuffer)
    assert ours.mean() == theirs.mean() and ours.current() == theirs.current()
    meta = checkpoint["meta"]["dataset_meta"]
    assert meta["weights"].dtype == np.float32 and meta["weights"].tolist() == [1.0, 5.0]
    assert meta["names"].tolist() == ["a", "b"]


def test_numpy_scalars_and_arrays_of_every_kind_load(tmp_path):
    for kind in "?bBhHiIlLefdFD":
        saved = {"array": np.ones(3, dtype=kind), "scalar": np.dtype(kind).type(1), "type": kind}
        torch.save(saved, tmp_path / "x.pth")
        loaded = load_file(tmp_path / "x.pth")
        assert loaded["array"].dtype == np.dtype(kind) and loaded["array"].tolist() == [1, 1, 1]
        assert loaded["scalar"] == 1 and type(loaded["scalar"]) is type(saved["scalar"])


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_both_numpy_versions_load(tmp_path, module):
    torch.save({"a": np.float64(2.5), "b": np.arange(3)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        program = archive.read(name)
    for written in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        program = program.replace(b"c" + written, b"c" + module.encode())
    write_pickle(tmp_path / "y.pth", program)
    loaded = load_file(tmp_path / "y.pth")
    assert loaded["a"] == 2.5 and loaded["b"].tolist() == [0, 1, 2]


def test_code_is_refused_and_named(tmp_path):
    marker = tmp_path / "marker"
    make = f"__import__('os').mkdir({str(marker)!r})"
    for function, argument in ((os.system, f"mkdir {marker}"), (eval, make), (exec, make)):
        torch.save({"state_dict": {}, "x": Dangerous(function, argument)}, tmp_path / "x.pth")
        with pytest.raises(
            CheckpointError, match=rf"x\.pth .*{function.__name__}.* refused"
        ) as told:
            load_file(tmp_path / "x.pth")
        assert "weights_only" not in str(told.value)  # torch's advice to switch safety off
        assert not marker.exists()
        torch.load(tmp_path / "x.pth", weights_only=False)  # the file was dangerous indeed
        marker.rmdir()


def test_plain_pickle_is_refused(tmp_path):
    for protocol in range(6):
        with open(tmp_path / "x.pth", "wb") as file:
            pickle.dump(Dangerous(os.mkdir, str(tmp_path / "marker")), file, protocol=protocol)
        with pytest.raises(CheckpointError):
            load_file(tmp_path / "x.pth")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02c__builtin__\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\n"
        b"X\x0b\x00\x00\x00__globals__tR.",
        b"\x80\x02c__builtin__\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\n"
        b"X\x08\x00\x00\x00__init__tR.",
        b"\x80\x02c__builtin__\ngetattr\n(cnumpy\ndtype\nX\x04\x00\x00\x00meantR.",
        b"\x80\x02c__builtin__\ngetattr\n(]X\x06\x00\x00\x00appendtR.",
        b"\x80\x02c__builtin__\nbytes\n(K\x09tR.",
        b"\x80\x02cnumpy\nload\n(X\x01\x00\x00\x00atR.",
        b"\x80\x02cmmscalablevit.checkpoints.loading\n_mmengine_method\n)R.",
    ],
    ids=["globals", "init", "dtype", "list", "bytes", "numpy.load", "stand-in"],
)
def test_the_narrow_functions_give_nothing_else(tmp_path, program):
    write_pickle(tmp_path / "x.pth", program)
    with pytest.raises(CheckpointError, match=r"refused|damaged"):
        load_file(tmp_path / "x.pth")


def test_the_command_line_in_a_released_file_is_let_pass(tmp_path):
    torch.save({"model": {}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "x.pth")
    before = set(torch.serialization.get_safe_globals())
    assert load_file(tmp_path / "x.pth")["args"].lr == 0.1
    assert set(torch.serialization.get_safe_globals()) == before


def test_safe_loading_reaches_every_loader_of_mmengine(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": {}, "x": Dangerous(os.mkdir, str(marker))}, tmp_path / "x.pth")
    use_safe_loading()
    with pytest.raises(CheckpointError, match="mkdir"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "x.pth"))
    with pytest.raises(pickle.UnpicklingError):  # code that asks for unrestricted loading
        torch.load(tmp_path / "x.pth", weights_only=False)
    assert not marker.exists()
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "good.pth")
    assert load_from_local(str(tmp_path / "good.pth"))["state_dict"]["a"] == 1


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickled_annotations_hold_plain_objects_and_no_code(tmp_path, protocol):
    use_safe_loading()
    content = {
        "metainfo": {"classes": ("a", "b"), "ids": {1, 2}, "more": OrderedDict(x=b"\xff", y=b"")},
        "data_list": [{"img_path": "ä.png", "boxes": np.ones((2, 4), "f4"), "label": np.int64(3)}],
    }
    mmengine.dump(content, tmp_path / "good.pkl", protocol=protocol)
    found = mmengine.load(tmp_path / "good.pkl")
    assert found["metainfo"] == content["metainfo"]
    assert np.array_equal(found["data_list"][0]["boxes"], np.ones((2, 4)))
    assert found["data_list"][0]["label"] == 3
    marker = tmp_path / "marker"
    mmengine.dump([Dangerous(os.mkdir, str(marker))], tmp_path / "evil.pkl", protocol=protocol)
    with pytest.raises(UnsafeFileError, match=r"'posix.mkdir'.*nothing was executed"):
        mmengine.load(tmp_path / "evil.pkl")
    for function in (eval, getattr):
        mmengine.dump([Dangerous(function, "1")], tmp_path / "evil.pkl", protocol=protocol)
        with pytest.raises(UnsafeFileError, match=f"builtins.{function.__name__}"):
            mmengine.load(tmp_path / "evil.pkl")
    assert not marker.exists()


def test_torchscript_is_named_with_what_converts_it(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"TorchScript program.*torch\.jit\.load\("):
        load_file(tmp_path / "x.pth")


def test_a_damaged_file_of_safetensors_is_named(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    path.write_bytes(struct.pack("<Q", 64) + b'{"a":{"dtype":"F32"')
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "safetensors", None)  # as where it is not installed
        with pytest.raises(CheckpointError, match=r"x.pth.*pip install safetensors"):
            load_file(path)
    pytest.importorskip("safetensors")
    with pytest.raises(CheckpointError, match=r"x.pth is damaged \(.*copy it again"):
        load_file(path)
