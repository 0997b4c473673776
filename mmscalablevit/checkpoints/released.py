"""How the authors' released checkpoints name and shape things, model by model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]
Layers = dict[str, nn.Module]  # by their names in a head
Rename = tuple[str, str]  # beginning of a name, and what replaces it; # are numbers, taken over

# Width of the hidden layer in the released classification heads.
SCALABLEVIT_HEAD_DIMS = 4096
STVIT_HEAD_DIMS = 1024

# LVT's class attention.
CLASS_BLOCKS = 2
CLASS_FFN_RATIO = 4


@dataclass(frozen=True)
class Family:
    """A backbone with released checkpoints, of one form if there are several.

    Attributes:
        name: Name of the backbone.
        widths: Its released architectures: the stages' widths by name.
        width_entry: Released name of an entry that each stage has, with ``{stage}`` in it; its
            first side is the stage's width. No other family has entries of these names.
        adapt: Brings released entries into our shapes, joins some and drops constant ones.
        renames: Released names to ours, in the order in which they are tried.
        head: Layers of the classifier's head, from the last width and the number of classes.
        classes_entry: Our name of the entry whose first side is the number of classes.
        form: What tells it from the family's other forms, in words.
        has_form: Whether a state dict of the family, by its names, is of this form.
        settings: Arguments of the backbone besides its architecture.
    """

    name: str
    widths: Mapping[str, tuple[int, ...]]
    width_entry: str
    adapt: Callable[[Mapping[str, Tensor]], StateDict]
    renames: Sequence[Rename]
    head: Callable[[int, int], Layers]
    classes_entry: str
    form: str = ""
    has_form: Callable[[Iterable[str]], bool] = lambda names: True
    settings: Mapping[str, Any] = field(default_factory=dict)


def _join_keys_and_values(released: Mapping[str, Tensor]) -> StateDict:
    """ScalableViT: SSA's linear layers for keys and for values become one, keys first."""
    adapted: StateDict = {}
    for name, value in released.items():
        keys, values = name.replace(".attn.v.", ".attn.k."), name.replace(".attn.k.", ".attn.v.")
        if keys == values or not {keys, values} <= released.keys():
            adapted[name] = value
        elif name == keys:
            joined = torch.cat([value, released[values]])
            adapted[name.replace(".attn.k.", ".attn.kv.")] = joined
    return adapted


def _pointwise_as_linear(value: Tensor) -> Tensor:
    """A 1x1 convolution's weight as a linear layer's; anything else as it is."""
    return value.flatten(1) if value.ndim == 4 and value.shape[2:] == (1, 1) else value


def _adapt_stvit(released: Mapping[str, Tensor]) -> StateDict:
    """STViT: 1x1 convolutions and layer scales in our shapes, no constant kernels."""
    adapted: StateDict = {}
    for name, value in released.items():
        if name.endswith((".gamma_1", ".gamma_2")):
            value = value.flatten()
        elif name.startswith("layers."):
            value = _pointwise_as_linear(value)
        # Shifts by one cell, as kernels of convolutions. Our attention shifts by slicing.
        if not name.endswith((".attn.unfold.weights", ".attn.fold.weights")):
            adapted[name] = value
    return adapted


def _adapt_lvt(released: Mapping[str, Tensor]) -> StateDict:
    """LVT: the FFNs' 1x1 convolutions as linear layers."""
    return {
        name: _pointwise_as_linear(value) if ".mlp." in name else value
        for name, value in released.items()
    }


SCALABLEVIT = Family(
    name="ScalableViT",
    widths={
        "small": (64, 128, 256, 512),
        "base": (96, 192, 384, 768),
        "large": (128, 256, 512, 1024),
    },
    width_entry="patch_embeds.{stage}.proj.weight",
    adapt=_join_keys_and_values,
    renames=[
        ("patch_embeds.#.proj.", "backbone.stages.#.patch_embed.projection."),
        ("patch_embeds.#.norm.", "backbone.stages.#.patch_embed.norm."),
        ("pos_block.#.proj.0.", "backbone.stages.#.peg.conv."),
        ("stages.#.#.attn.lim_func.", "backbone.stages.#.blocks.#.attn.lim."),
        ("stages.#.#.attn.reduction.0.", "backbone.stages.#.blocks.#.attn.reduction.depthwise."),
        ("stages.#.#.attn.reduction.1.", "backbone.stages.#.blocks.#.attn.reduction.pointwise."),
        ("stages.#.#.attn.norm_act.0.", "backbone.stages.#.blocks.#.attn.reduction.norm."),
        ("stages.#.#.mlp.", "backbone.stages.#.blocks.#.ffn."),
        ("stages.#.#.", "backbone.stages.#.blocks.#."),
        ("norm.", "backbone.norm3."),
        ("head.0.", "head.layers.0.fc."),
        ("head.1.", "head.layers.0.norm."),
        ("head.3.", "head.layers.1.fc."),
    ],
    head=lambda dims, classes: {
        "layers.0.fc": nn.Linear(dims, SCALABLEVIT_HEAD_DIMS),
        "layers.0.norm": nn.LayerNorm(SCALABLEVIT_HEAD_DIMS),
        "layers.1.fc": nn.Linear(SCALABLEVIT_HEAD_DIMS, classes),
    },
    classes_entry="head.layers.1.fc.weight",
)

STVIT = Family(
    name="STViT",
    widths={
        "small": (64, 128, 320, 512),
        "base": (96, 192, 384, 512),
        "large": (96, 192, 448, 640),
    },
    width_entry="layers.{stage}.blocks.0.pos_embed.conv.weight",
    adapt=_adapt_stvit,
    renames=[
        # Convolution, activation and norm, four times.
        *(
            (f"patch_embed.proj.{3 * i + offset}.", f"backbone.stages.0.patch_embed.{name}{i}.")
            for i in range(4)
            for offset, name in ((0, "conv"), (2, "norm"))
        ),
        # What leads out of a stage there leads into the next one here.
        *(
            (f"layers.{i}.downsample.proj.{j}.", f"backbone.stages.{i + 1}.patch_embed.{name}.")
            for i in range(3)
            for j, name in enumerate(("conv", "norm"))
        ),
        ("layers.#.blocks.#.pos_embed.", "backbone.stages.#.blocks.#.peg."),
        ("layers.#.blocks.#.norm1.norm.", "backbone.stages.#.blocks.#.norm1."),
        # Around super tokens the attention is a module of its own; among pixels it is not.
        ("layers.#.blocks.#.attn.stoken_refine.", "backbone.stages.#.blocks.#.attn."),
        ("layers.#.blocks.#.mlp2.conv.conv.", "backbone.stages.#.blocks.#.ffn.conv."),
        ("layers.#.blocks.#.mlp2.", "backbone.stages.#.blocks.#.ffn."),
        ("layers.#.blocks.#.gamma_#", "backbone.stages.#.blocks.#.scale#.weight"),
        ("layers.#.blocks.#.", "backbone.stages.#.blocks.#."),
        ("proj.", "head.conv.conv."),
        ("norm.", "head.conv.bn."),
        ("head.", "head.fc."),
    ],
    head=lambda dims, classes: {
        "conv.conv": nn.Conv2d(dims, STVIT_HEAD_DIMS, 1),
        "conv.bn": nn.BatchNorm2d(STVIT_HEAD_DIMS),
        "fc": nn.Linear(STVIT_HEAD_DIMS, classes),
    },
    classes_entry="head.fc.weight",
)

LVT_PLAIN = Family(
    name="LVT",
    widths={"lvt": (64, 64, 160, 256)},
    width_entry="backbone.{stage}.0.proj.weight",
    adapt=_adapt_lvt,
    renames=[
        ("backbone.#.0.proj.", "backbone.stages.#.patch_embed.projection."),
        ("backbone.#.0.norm.", "backbone.stages.#.patch_embed.norm."),
        ("backbone.#.1.#.attn.attn.", "backbone.stages.#.blocks.#.attn.logits."),
        ("backbone.#.1.#.attn.weight.", "backbone.stages.#.blocks.#.attn.value."),
        ("backbone.#.1.#.attn.sr.", "backbone.stages.#.blocks.#.attn.reduction.conv."),
        ("backbone.#.1.#.attn.norm.", "backbone.stages.#.blocks.#.attn.reduction.norm."),
        ("backbone.#.1.#.attn.ds.weight", "backbone.stages.#.blocks.#.attn.atrous_kernel"),
        ("backbone.#.1.#.mlp.depconv.", "backbone.stages.#.blocks.#.ffn.conv."),
        ("backbone.#.1.#.mlp.", "backbone.stages.#.blocks.#.ffn."),
        ("backbone.#.1.#.", "backbone.stages.#.blocks.#."),
        ("norm.", "backbone.norm3."),
        ("head.", "head.fc."),
    ],
    head=lambda dims, classes: {"fc": nn.Linear(dims, classes)},
    classes_entry="head.fc.weight",
)


def _class_attention(dims: int, classes: int) -> Layers:
    layers: Layers = {
        "": nn.ParameterDict({"cls_token": nn.Parameter(torch.empty(1, 1, dims))}),
        "norm": nn.LayerNorm(dims),
        "fc": nn.Linear(dims, classes),
        "aux_fc": nn.Linear(dims, classes),
    }
    for block in (f"blocks.{i}" for i in range(CLASS_BLOCKS)):
        layers |= {
            f"{block}.norm1": nn.LayerNorm(dims),
            f"{block}.attn.q": nn.Linear(dims, dims, bias=False),
            f"{block}.attn.kv": nn.Linear(dims, 2 * dims, bias=False),
            f"{block}.attn.proj": nn.Linear(dims, dims),
            f"{block}.norm2": nn.LayerNorm(dims),
            f"{block}.ffn.fc1": nn.Linear(dims, CLASS_FFN_RATIO * dims),
            f"{block}.ffn.fc2": nn.Linear(CLASS_FFN_RATIO * dims, dims),
        }
    return layers


# The ImageNet classifier. Its last norm comes after class attention, and belongs to the head.
LVT_CLASS_ATTENTION = replace(
    LVT_PLAIN,
    renames=[
        ("cls_token", "head.cls_token"),
        ("post_network.#.mlp.", "head.blocks.#.ffn."),
        ("post_network.#.", "head.blocks.#."),
        ("aux_head.", "head.aux_fc."),
        ("norm.", "head.norm."),
        *LVT_PLAIN.renames,
    ],
    head=_class_attention,
    form="class attention",
    has_form=lambda names: any(
        name.startswith(("cls_token", "post_network.", "aux_head.")) for name in names
    ),
    settings={"output_norms": False},
)
# What the authors start their detectors and segmentors from.
LVT_BACKBONE = replace(
    LVT_PLAIN,
    head=lambda dims, classes: {},
    classes_entry="",
    form="backbone alone",
    has_form=lambda names: all(name.startswith("backbone.") for name in names),
    settings={"output_norms": False},
)

# Of several forms the first that fits.
FAMILIES = (SCALABLEVIT, STVIT, LVT_CLASS_ATTENTION, LVT_BACKBONE, LVT_PLAIN)
