"""Architectures of the backbones: looking them up, and checking them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Arch = dict[str, Any]


def resolve_arch(
    arch: str | Mapping[str, Any],
    zoo: Mapping[str, Arch],
    defaults: Mapping[str, Any],
    per_stage: Iterable[str],
) -> Arch:
    """Look an architecture up by its name, or check one that is given as a dict.

    Args:
        arch: Name in ``zoo``, or a dict with a list of one entry a stage for each key of
            ``per_stage`` and, optionally, the keys of ``defaults``. With a name in ``zoo`` as
            ``base`` the dict has only what differs from that architecture.
        zoo: The named architectures.
        defaults: Values of the optional keys.
        per_stage: The required keys.

    Returns:
        The settings, complete.

    Raises:
        ValueError: A name is unknown, or a key is missing, unknown or inconsistent.
        TypeError: ``arch`` is neither a name nor a dict.
    """
    if isinstance(arch, str):
        arch = {"base": arch}
    if not isinstance(arch, Mapping):
        raise TypeError(f"arch is a name or a dict, not {type(arch).__name__}")
    per_stage = list(per_stage)
    known = [*per_stage, *defaults, "base"]
    for key in arch:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"arch has an unknown key {key!r}: {hint}")
    given = dict(arch)
    if "base" in given:
        name = given.pop("base")
        if not isinstance(name, str) or name.lower() not in zoo:
            raise ValueError(f"unknown arch {name!r}: known are {', '.join(map(repr, zoo))}")
        given = {**zoo[name.lower()], **given}
    missing = [key for key in per_stage if key not in given]
    if missing:
        raise ValueError(
            f"arch lacks {', '.join(missing)}: it needs {', '.join(per_stage)}, or as base one of"
            f" {', '.join(map(repr, zoo))}"
        )
    settings = {**defaults, **given}
    check_stages(settings, per_stage)
    return settings


def check_stages(arch: Arch, per_stage: Iterable[str]) -> None:
    """Check that an architecture has one entry a stage, and heads that divide the channels.

    Args:
        arch: The architecture.
        per_stage: Keys with a list of one entry a stage.

    Raises:
        ValueError: It has not; the message names the key and the stage.
    """
    stages = {key: arch[key] for key in per_stage}
    for key, value in stages.items():
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise ValueError(f"arch[{key!r}] is a list of one entry a stage, not {value!r}")
    if len({len(value) for value in stages.values()}) > 1:
        lengths = ", ".join(f"{key} {len(value)}" for key, value in stages.items())
        raise ValueError(f"arch's lists differ in the number of stages: {lengths}")
    for key in ("embed_dims", "depths", "num_heads"):
        check_whole_numbers(arch, key)
    for stage, (dims, heads) in enumerate(zip(arch["embed_dims"], arch["num_heads"], strict=True)):
        if dims % heads:
            raise ValueError(
                f"arch: embed_dims {dims} of stage {stage} is not divisible by its"
                f" num_heads {heads}"
            )


def check_whole_numbers(arch: Mapping[str, Any], key: str) -> None:
    """Check that an architecture has a whole number above 0 for each stage.

    Raises:
        ValueError: It has not; the message names the stage.
    """
    for stage, number in enumerate(arch[key]):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(
                f"arch[{key!r}] needs whole numbers above 0, stage {stage} has {number!r}"
            )


def check_positive(name: str, value: object) -> None:
    """Check that a setting is a number above 0.

    Args:
        name: Its name, for the message.
        value: Its value.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} needs a number above 0, not {value!r}")


def check_ratios(arch: Arch, key: str, ratios: Sequence[Any]) -> None:
    """Check that ratios to ``embed_dims`` are numbers above 0 and leave a channel.

    Args:
        arch: The architecture.
        key: Its key with the ratio, for the message.
        ratios: One ratio a stage.

    Raises:
        ValueError: One is none or leaves none; the message names the stage.
    """
    for stage, (dims, ratio) in enumerate(zip(arch["embed_dims"], ratios, strict=True)):
        name = f"arch[{key!r}] of stage {stage}"
        check_positive(name, ratio)
        if dims * ratio < 1:
            raise ValueError(f"{name}: {ratio} times embed_dims {dims} leaves no channel")
