"""Steps of the protocol by which trainings start; the tools' tests go through all of it."""

from __future__ import annotations

import argparse
import errno

import pytest
import torch
from mmengine.config import Config

from mmscalablevit.checkpoints import Checkpoint, CheckpointError
from mmscalablevit.cli import start, tool
from mmscalablevit.errors import UsageError
from mmscalablevit.models.pyramid import InputError


def save(path, **content) -> str:
    torch.save({"state_dict": {"w": torch.ones(1)}, **content}, path)
    return str(path)


@pytest.mark.parametrize("by", ["option", "config", "Slurm"])
def test_a_training_is_resumed_by_an_option_its_config_or_slurm(tmp_path, monkeypatch, by):
    path = save(tmp_path / "epoch_3.pth", optimizer={})
    cfg = Config({"work_dir": str(tmp_path), "load_from": None, "resume": by == "config"})
    if by == "Slurm":
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    found = start.choose_start(cfg, "auto" if by == "option" else None)
    assert (found.path, cfg.load_from, cfg.resume) == (path, path, True)


def test_a_training_starts_from_weights_or_from_nothing(tmp_path):
    weights = save(tmp_path / "weights.pth")
    cfg = Config({"work_dir": str(tmp_path)})
    assert start.choose_start(cfg, None) is None and not cfg.resume
    assert start.choose_start(cfg, "auto") is None and not cfg.resume
    with pytest.raises(UsageError, match="holds weights only"):
        start.choose_start(cfg, weights)
    cfg.load_from = weights
    assert start.choose_start(cfg, "auto").path == weights and not cfg.resume
    assert start.choose_start(cfg, "https://nowhere/x.pth") is None  # the Runner fetches it
    assert (cfg.load_from, cfg.resume) == ("https://nowhere/x.pth", True)


def test_a_resumed_training_keeps_its_seed(monkeypatch):
    said = []
    monkeypatch.setattr(start, "print_log", lambda message, **_: said.append(message))
    begun = Checkpoint("x.pth", {"meta": {"seed": 5}})
    cfg = Config({})
    start.keep_seed(cfg, begun)
    start.keep_seed(cfg, begun)
    assert cfg.randomness.seed == 5 and not said
    cfg.randomness.seed = 7
    start.keep_seed(cfg, begun)
    assert cfg.randomness.seed == 5 and "the seed stays 5, as in x.pth, not 7" in said[0]


def test_what_the_user_can_mend_ends_a_tool_with_a_message(monkeypatch):
    monkeypatch.setattr(tool, "use_safe_loading", lambda: None)

    def work(args: argparse.Namespace) -> None:
        with start.explained_errors(args, training=args.training):
            raise args.error

    def end(error: Exception, training: bool = True) -> str:
        with pytest.raises(SystemExit) as stop:
            tool.run(work, argparse.Namespace(error=error, training=training, config="own.py"))
        return stop.value.code

    for kind in (UsageError, CheckpointError, InputError):
        assert end(kind("what is wrong")) == "error: what is wrong"
    assert end(FileNotFoundError(2, "No such file or directory", "a.png")) == (
        "error: a.png does not exist"
    )
    full = OSError(errno.ENOSPC, "No space left", "log")
    assert "go on with --resume auto" in end(full)
    for error, training in ((full, False), (ValueError("unknown"), True)):
        with pytest.raises(type(error)):  # what nobody expects keeps its traceback
            tool.run(work, argparse.Namespace(error=error, training=training, config="own.py"))
    assert tool.run(lambda args: None, argparse.Namespace()) == 0
    assert tool.run(lambda args: 3, argparse.Namespace()) == 3
