"""Options of the command line that the config does not know, or that nothing reads."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner

from mmscalablevit.errors import Finding, listed

# What the Runner and the tools read of a config beside the Runner's arguments.
_READ = {
    *inspect.signature(Runner.__init__).parameters,
    *inspect.signature(FlexibleRunner.__init__).parameters,
    *("activation_checkpointing", "compile", "efficient_conv_bn_eval", "runner_type"),
    *("custom_imports", "log_level", "tta_model", "tta_pipeline"),
}


def option_findings(cfg: Config, options: Iterable[str]) -> Iterator[Finding]:
    """Look for options that do not do what their name says.

    Args:
        cfg: The config, without the options.
        options: Names of entries, with dots between.
    """
    for option in options:
        name = f"--cfg-options {option}"
        first, _, rest = option.partition(".")
        if option == "data_root" and option in cfg:
            continue  # what lies below it moves with it
        if first in cfg and first not in _READ:
            copies = [f"{place}.{rest}".rstrip(".") for place in _copies(cfg, first)]
            found = f"{name}: nothing reads {first} any more, the config's parts have copied it"
            these = listed(copies, 4) or "what it became part of"
            yield Finding(name, "warn", f"{found}: change {these}")
            continue
        node: Any = cfg
        for key in option.split("."):
            if isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif not isinstance(node, (Config, Mapping)):
                break  # reading says what is wrong
            elif key in node:
                node = node[key]
            elif not _takes(cfg, node, key):
                near = difflib.get_close_matches(key, list(node), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                found = f"{name}: the config has no such entry, it is added{hint}"
                yield Finding(name, "warn", found)
                break
            else:
                break


def _copies(cfg: Config, name: str) -> Iterator[str]:
    """Where parts of a config that are read have the value of an entry."""
    value = cfg[name]

    def search(node: Any, place: str) -> Iterator[str]:
        if type(node) is type(value) and node == value:
            yield place
        elif isinstance(node, Mapping):
            for key, inner in node.items():
                yield from search(inner, f"{place}.{key}")
        elif isinstance(node, (list, tuple)):
            for number, inner in enumerate(node):
                yield from search(inner, f"{place}.{number}")

    for key in cfg:
        if key in _READ:
            yield from search(cfg[key], key)


def _takes(cfg: Config, part: Any, key: str) -> bool:
    """Tell whether the class that a part names has an argument of this name."""
    kind = part.get("type")
    for registry in vars(registries).values() if isinstance(kind, str) else ():
        if not isinstance(registry, Registry):
            continue
        with registry.switch_scope_and_registry(cfg.get("default_scope")) as scoped:
            found = scoped.get(kind)
        if isinstance(found, type):
            inits = [vars(kind)["__init__"] for kind in found.__mro__ if "__init__" in vars(kind)]
            return any(key in inspect.signature(init).parameters for init in inits)
    return False
