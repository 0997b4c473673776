"""Reading a config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscalablevit.checks import require
from mmscalablevit.checks.options import option_findings
from mmscalablevit.errors import FAILURES, UsageError, first_line, module_line
from mmscalablevit.files import find_config


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config, as :func:`.find_config` finds it, and merge options into it.

    Raises:
        UsageError: It is missing (near names are offered), or no config.
    """
    file = find_config(path)
    if file.suffix not in (".py", ".json", ".yaml", ".yml"):
        raise UsageError(f"config {path} is not a config: it must end in .py, .json or .yaml")
    try:
        cfg = Config.fromfile(file)
    except (*FAILURES, MemoryError) as error:  # the parser's, of a file that is no Python
        line = module_line(error)
        place = f"config {path}" if line is None else f"config {path}, line {line}"
        raise UsageError(f"{place} cannot be read: {first_line(error)}") from error
    drop_own_scope(list(cfg.values()))
    if "model" not in cfg:
        raise UsageError(f"config {path} has no model; name a leaf config, not one of its bases")
    if options:
        require(option_findings(cfg, options))
        open_archs(cfg, options)
        move_data(cfg, options)
        try:
            cfg.merge_from_dict(options)
        except (LookupError, TypeError, ValueError) as error:
            raise UsageError(f"--cfg-options: {first_line(error)}") from error
    return cfg


def drop_own_scope(entry: Any) -> None:
    """Take off the scope that MMEngine gives what comes from ``_base_ = 'mmscalablevit::...'``.

    There is no registry of that scope: this package's configs name what their framework has.

    Args:
        entry: Entries of a config, changed in place.
    """
    if isinstance(entry, dict):
        if entry.get("_scope_") == "mmscalablevit":
            del entry["_scope_"]
        entry = list(entry.values())
    if isinstance(entry, (list, tuple)):
        for inner in entry:
            drop_own_scope(inner)


def open_archs(cfg: Config, options: Iterable[str]) -> None:
    """Turn a config's named architecture into a dict based on it, where options say what differs.

    ``arch='small'`` becomes ``arch=dict(base='small')``, for ``model.backbone.arch.window_size``.
    """
    for option in options:
        owner, arch, _ = option.partition(".arch.")
        entry: Any = cfg
        for name in owner.split("."):
            entry = entry.get(name) if isinstance(entry, (Config, dict)) else None
        if arch and isinstance(entry, dict) and isinstance(entry.get("arch"), str):
            entry["arch"] = {"base": entry["arch"]}


def move_data(cfg: Config, options: Mapping[str, Any]) -> None:
    """Let the option ``data_root`` move what data sets and evaluators have below the config's own.

    Data sets and evaluators have copies of that variable, made when the config was read.

    Args:
        cfg: The config, changed in place.
        options: Names of entries, with their new values.
    """
    old, new = cfg.get("data_root"), options.get("data_root")
    if not isinstance(old, str) or not isinstance(new, str):
        return
    old, new = old.rstrip("/"), new.rstrip("/")

    def moved(entry: Any) -> Any:
        if isinstance(entry, str) and f"{entry}/".startswith(f"{old}/"):
            return new + entry.removeprefix(old)
        if isinstance(entry, dict):
            entry.update({key: moved(value) for key, value in entry.items()})
        elif isinstance(entry, (list, tuple)):
            return type(entry)(moved(value) for value in entry)
        return entry

    for key, value in cfg.items():
        if key.endswith(("_dataloader", "_evaluator")):
            cfg[key] = moved(value)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from ``'224'`` or ``'512x640'``.

    Raises:
        UsageError: It is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or int(match[1]) < 1:
        raise UsageError(f"size {text!r}: a size is N or HEIGHTxWIDTH, such as 224 or 512x640")
    return int(match[1]), int(match[2] or match[1])


def require_entries(cfg: Config, path: str, *names: str) -> None:
    """Check that a config has what a training or a test needs.

    Raises:
        UsageError: An entry is missing.
    """
    if any(cfg.get(name) is None for name in names):
        raise UsageError(f"config {path} has no {' or no '.join(names)}")


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None) -> None:
    """Choose the work directory: the option, the config's, or one named after the config."""
    cfg.work_dir = work_dir or cfg.get("work_dir") or f"work_dirs/{Path(config_path).stem}"
