"""What a figure comes from: code, config, versions and command line of a run."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmscalablevit.checkpoints import Checkpoint
from mmscalablevit.environment.facts import LITE, ONEDL, UPSTREAM, installed_versions
from mmscalablevit.errors import listed_below
from mmscalablevit.files import write_json

FILE_NAME = "provenance.json"
CONFIG_FILE_NAME = "config.json"  # beside it: what config_content() gives

# Where a checkpoint says which config it was trained with.
_CONTENT_ENTRY = "config_content"

_ABSENT = object()
_LONGEST = 60  # characters of a value in a message

ROOT = Path(__file__).resolve().parents[2]

# Entries of a config that tell where and how a run is started, not what is trained.
_LAUNCH_KEYS = {
    *("env_cfg", "launcher", "load_from", "model_wrapper_cfg", "resume"),
    *("experiment_name", "log_level", "vis_backends", "visualizer", "work_dir"),
}


def config_content(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a config to what is trained, in JSON's types.

    Left out are the entries that tell where and how a run is started: work directory, launcher,
    what it resumes from, the file that pretrained weights are read from.
    """
    content = {key: _plain(value) for key, value in cfg.items() if key not in _LAUNCH_KEYS}
    if not content.get("custom_hooks"):
        content.pop("custom_hooks", None)
    if isinstance(content.get("auto_scale_lr"), dict):
        content["auto_scale_lr"].pop("enable", None)
    return content


def _plain(value: Any) -> Any:
    """Turn a config's value into JSON's types."""
    if isinstance(value, Mapping):
        plain = {str(key): _plain(item) for key, item in value.items()}
        if plain.get("type") == "Pretrained":
            plain.pop("checkpoint", None)
        return plain
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def config_hash(content: Mapping[str, Any]) -> str:
    """Return a short hash of what :func:`config_content` gives."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List what differs between two contents, such as ``optimizer.lr: 0.1 -> 0.2``."""
    old, new = dict(_flat(before, "")), dict(_flat(now, ""))
    return [
        f"{key}: {_text(old.get(key, _ABSENT))} -> {_text(new.get(key, _ABSENT))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested containers by their dotted places."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{place}.{index}")
    else:
        yield place, value


def _text(value: Any) -> str:
    text = "nothing" if value is _ABSENT else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def code_version() -> dict[str, Any]:
    """Find the commit of this code, and whether tracked files differ from it: ``dirty``.

    Both are None where the code lies in no git checkout of its own.
    """
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--abbrev=40"]
    try:
        if not (ROOT / ".git").exists():  # perhaps installed below somebody else's checkout
            raise FileNotFoundError
        done = subprocess.run(
            [*command, "--dirty"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    commit, _, dirty = done.stdout.strip().partition("-")
    return {"commit": commit, "dirty": bool(dirty)}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a training stands on."""
    names = ["torch", "torchvision", *UPSTREAM.values(), *ONEDL.values(), *LITE.values()]
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        **installed_versions([*names, "mmscalablevit"]),
    }


class _ContentHook(Hook):
    """Let a run's checkpoints say which config they were trained with."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[_CONTENT_ENTRY] = self._content


def report_changes(content: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Say how a config's content differs from that of the training that is resumed.

    Checkpoints of earlier versions don't tell.
    """
    before = checkpoint.content.get(_CONTENT_ENTRY)
    if isinstance(before, Mapping) and (changed := differences(before, content)):
        changes = listed_below(changed, 20)
        message = f"--resume: the config is not the one of {checkpoint.path}:{changes}"
        print_log(message, logger="current", level=logging.WARNING)


def record(runner: Runner, config: str, content: dict[str, Any]) -> None:
    """Write ``provenance.json`` and ``config.json`` beside a run's logs, if that is possible.

    The config's content goes into the checkpoints, too. Each resumption has a log directory of its
    own. The config's path is as the user gave it.
    """
    runner.register_hook(_ContentHook(content))
    if not is_main_process():
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    origin = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        **code_version(),
        "config": config,
        "config_hash": config_hash(content),
        "versions": versions(),
        "device": gpu or "CPU",
        "processes": runner.world_size,
        "batch_size": runner.cfg.train_dataloader.get("batch_size"),
        "seed": runner.seed,
    }
    try:
        write_json(Path(runner.log_dir) / FILE_NAME, origin)
        write_json(Path(runner.log_dir) / CONFIG_FILE_NAME, content)
    except OSError as error:
        message = f"{FILE_NAME} cannot be written: {error.strerror}"
        print_log(message, logger="current", level=logging.WARNING)
