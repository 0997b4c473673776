"""The authors' released checkpoints, in this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmscalablevit.backbones import ScalableViT
from mmscalablevit.backbones.scalablevit import ARCH_ZOO
from mmscalablevit.checkpoints.pretrained import summarize

StateDict = dict[str, Tensor]

# Width of the hidden layer in the released classification head.
HEAD_DIMS = 4096

# Released name -> ours, in the order in which they are tried.
RENAMES = [
    (r"^patch_embeds\.(\d+)\.proj\.", r"backbone.stages.\1.patch_embed.projection."),
    (r"^patch_embeds\.(\d+)\.norm\.", r"backbone.stages.\1.patch_embed.norm."),
    (r"^pos_block\.(\d+)\.proj\.0\.", r"backbone.stages.\1.peg.conv."),
    (r"^stages\.(\d+)\.(\d+)\.attn\.lim_func\.", r"backbone.stages.\1.blocks.\2.attn.lim."),
    (
        r"^stages\.(\d+)\.(\d+)\.attn\.reduction\.0\.",
        r"backbone.stages.\1.blocks.\2.attn.reduction.depthwise.",
    ),
    (
        r"^stages\.(\d+)\.(\d+)\.attn\.reduction\.1\.",
        r"backbone.stages.\1.blocks.\2.attn.reduction.pointwise.",
    ),
    (
        r"^stages\.(\d+)\.(\d+)\.attn\.norm_act\.0\.",
        r"backbone.stages.\1.blocks.\2.attn.reduction.norm.",
    ),
    (r"^stages\.(\d+)\.(\d+)\.mlp\.", r"backbone.stages.\1.blocks.\2.ffn."),
    (r"^stages\.(\d+)\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
    (r"^norm\.", r"backbone.norm3."),
    (r"^head\.0\.", r"head.layers.0.fc."),
    (r"^head\.1\.", r"head.layers.0.norm."),
    (r"^head\.3\.", r"head.layers.1.fc."),
]


class Converted(NamedTuple):
    """A released checkpoint in this package's names.

    Attributes:
        arch: Name of the architecture, such as ``'small'``.
        num_classes: Classes of its head.
        state_dict: Weights of the ImageClassifier that our classification configs build.
    """

    arch: str
    num_classes: int
    state_dict: StateDict


def rename_keys(released: Mapping[str, Tensor]) -> StateDict:
    """Rename the entries of a released ScalableViT state dict.

    The released SSA keeps separate linear layers for keys and values; here they are one, keys
    first. Names without a counterpart are kept as they are.
    """
    renamed: StateDict = {}
    for key, value in released.items():
        if re.match(r"^stages\.\d+\.\d+\.attn\.v\.", key):
            continue
        if re.match(r"^stages\.\d+\.\d+\.attn\.k\.", key):
            values = released.get(key.replace(".attn.k.", ".attn.v."))
            key = key.replace(".attn.k.", ".attn.kv.")
            value = value if values is None else torch.cat([value, values])
        for pattern, ours in RENAMES:
            if re.match(pattern, key):
                key = re.sub(pattern, ours, key)
                break
        renamed[key] = value
    return renamed


def expected_shapes(arch: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the classifier's entries: backbone with its last norm, and head."""
    with torch.device("meta"):
        backbone = ScalableViT(arch)
    shapes = {f"backbone.{key}": tuple(value.shape) for key, value in backbone.state_dict().items()}
    shapes["head.layers.0.fc.weight"] = (HEAD_DIMS, backbone.embed_dims[-1])
    for key in ("fc.bias", "norm.weight", "norm.bias"):
        shapes[f"head.layers.0.{key}"] = (HEAD_DIMS,)
    shapes["head.layers.1.fc.weight"] = (num_classes, HEAD_DIMS)
    shapes["head.layers.1.fc.bias"] = (num_classes,)
    return shapes


def recognize_arch(state_dict: Mapping[str, Tensor]) -> str:
    """Tell the architecture from the widths of the patch embeddings.

    Raises:
        ValueError: No released ScalableViT has these widths.
    """
    widths: list[int] = []
    while (weight := state_dict.get(f"patch_embeds.{len(widths)}.proj.weight")) is not None:
        widths.append(weight.shape[0])
    for name, arch in ARCH_ZOO.items():
        if arch["embed_dims"] == widths:
            return name
    known = "; ".join(
        f"{name} {ARCH_ZOO[name]['embed_dims']}" for name in ("small", "base", "large")
    )
    if not widths:
        raise ValueError(
            "not a released ScalableViT checkpoint: it has no entry"
            f" patch_embeds.0.proj.weight. Its entries are\n{summarize(state_dict)}"
        )
    raise ValueError(f"no released ScalableViT has the widths {widths}; known are {known}")


def convert(checkpoint: Mapping[str, Any]) -> Converted:
    """Convert a released ScalableViT checkpoint.

    Args:
        checkpoint: ``{'model': state dict, ...}``, ``{'state_dict': ...}`` or the bare state
            dict.

    Returns:
        The weights in this package's names.

    Raises:
        ValueError: It is not a released ScalableViT; the message lists the keys that differ.
    """
    released = checkpoint.get("model", checkpoint.get("state_dict", checkpoint))
    if not isinstance(released, Mapping) or not released:
        raise ValueError("the checkpoint holds no state dict")
    others = [key for key, value in released.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"not a state dict; these entries are no tensors:\n{summarize(others)}")
    if any(key.startswith("backbone.") for key in released):
        raise ValueError(
            "the checkpoint is in this package's names already ('backbone.'): use it as it is"
        )
    arch = recognize_arch(released)
    renamed = rename_keys(released)
    head = renamed.get("head.layers.1.fc.weight")
    num_classes = 1000 if head is None else head.shape[0]
    expected = expected_shapes(arch, num_classes)
    differences = [f"missing: {key}" for key in expected if key not in renamed]
    differences += [f"unknown: {key}" for key in renamed if key not in expected]
    differences += [
        f"shape: {key} is {tuple(renamed[key].shape)}, ScalableViT-{arch} has {shape}"
        for key, shape in expected.items()
        if key in renamed and tuple(renamed[key].shape) != shape
    ]
    if differences:
        raise ValueError(f"not the released ScalableViT-{arch}:\n{summarize(differences)}")
    return Converted(arch, num_classes, renamed)
