"""How the authors' released checkpoints name and shape things, model by model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Rename = tuple[str, str]  # regular expression at the beginning of a name, and what replaces it

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
        head_shapes: Shapes of the head's entries, from the last width and the number of classes.
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
    head_shapes: Callable[[int, int], Shapes]
    classes_entry: str
    form: str = ""
    has_form: Callable[[Iterable[str]], bool] = lambda names: True
    settings: Mapping[str, Any] = field(default_factory=dict)


def _linear_shapes(name: str, in_dims: int, out_dims: int) -> Shapes:
    return {f"{name}.weight": (out_dims, in_dims), f"{name}.bias": (out_dims,)}


def _norm_shapes(name: str, dims: int) -> Shapes:
    return {f"{name}.weight": (dims,), f"{name}.bias": (dims,)}


def _join_keys_and_values(released: Mapping[str, Tensor]) -> StateDict:
    """ScalableViT: SSA's linear layers for keys and for values become one, keys first."""
    adapted: StateDict = {}
    for name, value in released.items():
        values_name = name.replace(".attn.k.", ".attn.v.")
        if values_name != name and values_name in released:
            joined = torch.cat([value, released[values_name]])
            adapted[name.replace(".attn.k.", ".attn.kv.")] = joined
        elif ".attn.v." not in name or name.replace(".attn.v.", ".attn.k.") not in released:
            adapted[name] = value
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
        (r"patch_embeds\.(\d+)\.proj\.", r"backbone.stages.\1.patch_embed.projection."),
        (r"patch_embeds\.(\d+)\.norm\.", r"backbone.stages.\1.patch_embed.norm."),
        (r"pos_block\.(\d+)\.proj\.0\.", r"backbone.stages.\1.peg.conv."),
        (r"stages\.(\d+)\.(\d+)\.attn\.lim_func\.", r"backbone.stages.\1.blocks.\2.attn.lim."),
        (
            r"stages\.(\d+)\.(\d+)\.attn\.reduction\.0\.",
            r"backbone.stages.\1.blocks.\2.attn.reduction.depthwise.",
        ),
        (
            r"stages\.(\d+)\.(\d+)\.attn\.reduction\.1\.",
            r"backbone.stages.\1.blocks.\2.attn.reduction.pointwise.",
        ),
        (
            r"stages\.(\d+)\.(\d+)\.attn\.norm_act\.0\.",
            r"backbone.stages.\1.blocks.\2.attn.reduction.norm.",
        ),
        (r"stages\.(\d+)\.(\d+)\.mlp\.", r"backbone.stages.\1.blocks.\2.ffn."),
        (r"stages\.(\d+)\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
        (r"norm\.", r"backbone.norm3."),
        (r"head\.0\.", r"head.layers.0.fc."),
        (r"head\.1\.", r"head.layers.0.norm."),
        (r"head\.3\.", r"head.layers.1.fc."),
    ],
    head_shapes=lambda dims, classes: {
        **_linear_shapes("head.layers.0.fc", dims, SCALABLEVIT_HEAD_DIMS),
        **_norm_shapes("head.layers.0.norm", SCALABLEVIT_HEAD_DIMS),
        **_linear_shapes("head.layers.1.fc", SCALABLEVIT_HEAD_DIMS, classes),
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
            (rf"patch_embed\.proj\.{3 * i + offset}\.", f"backbone.stages.0.patch_embed.{name}{i}.")
            for i in range(4)
            for offset, name in ((0, "conv"), (2, "norm"))
        ),
        # What leads out of a stage there leads into the next one here.
        *(
            (
                rf"layers\.{i}\.downsample\.proj\.{offset}\.",
                f"backbone.stages.{i + 1}.patch_embed.{name}.",
            )
            for i in range(3)
            for offset, name in enumerate(("conv", "norm"))
        ),
        (r"layers\.(\d+)\.blocks\.(\d+)\.pos_embed\.", r"backbone.stages.\1.blocks.\2.peg."),
        (r"layers\.(\d+)\.blocks\.(\d+)\.norm1\.norm\.", r"backbone.stages.\1.blocks.\2.norm1."),
        # Around super tokens the attention is a module of its own; among pixels it is not.
        (
            r"layers\.(\d+)\.blocks\.(\d+)\.attn\.stoken_refine\.",
            r"backbone.stages.\1.blocks.\2.attn.",
        ),
        (
            r"layers\.(\d+)\.blocks\.(\d+)\.mlp2\.conv\.conv\.",
            r"backbone.stages.\1.blocks.\2.ffn.conv.",
        ),
        (r"layers\.(\d+)\.blocks\.(\d+)\.mlp2\.", r"backbone.stages.\1.blocks.\2.ffn."),
        (
            r"layers\.(\d+)\.blocks\.(\d+)\.gamma_([12])$",
            r"backbone.stages.\1.blocks.\2.scale\3.weight",
        ),
        (r"layers\.(\d+)\.blocks\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
        (r"proj\.", r"head.conv.conv."),
        (r"norm\.", r"head.conv.bn."),
        (r"head\.", r"head.fc."),
    ],
    head_shapes=lambda dims, classes: {
        "head.conv.conv.weight": (STVIT_HEAD_DIMS, dims, 1, 1),
        "head.conv.conv.bias": (STVIT_HEAD_DIMS,),
        **_norm_shapes("head.conv.bn", STVIT_HEAD_DIMS),
        "head.conv.bn.running_mean": (STVIT_HEAD_DIMS,),
        "head.conv.bn.running_var": (STVIT_HEAD_DIMS,),
        "head.conv.bn.num_batches_tracked": (),
        **_linear_shapes("head.fc", STVIT_HEAD_DIMS, classes),
    },
    classes_entry="head.fc.weight",
)

LVT_PLAIN = Family(
    name="LVT",
    widths={"lvt": (64, 64, 160, 256)},
    width_entry="backbone.{stage}.0.proj.weight",
    adapt=_adapt_lvt,
    renames=[
        (r"backbone\.(\d+)\.0\.proj\.", r"backbone.stages.\1.patch_embed.projection."),
        (r"backbone\.(\d+)\.0\.norm\.", r"backbone.stages.\1.patch_embed.norm."),
        (r"backbone\.(\d+)\.1\.(\d+)\.attn\.attn\.", r"backbone.stages.\1.blocks.\2.attn.logits."),
        (r"backbone\.(\d+)\.1\.(\d+)\.attn\.weight\.", r"backbone.stages.\1.blocks.\2.attn.value."),
        (
            r"backbone\.(\d+)\.1\.(\d+)\.attn\.sr\.",
            r"backbone.stages.\1.blocks.\2.attn.reduction.conv.",
        ),
        (
            r"backbone\.(\d+)\.1\.(\d+)\.attn\.norm\.",
            r"backbone.stages.\1.blocks.\2.attn.reduction.norm.",
        ),
        (
            r"backbone\.(\d+)\.1\.(\d+)\.attn\.ds\.weight$",
            r"backbone.stages.\1.blocks.\2.attn.atrous_kernel",
        ),
        (r"backbone\.(\d+)\.1\.(\d+)\.mlp\.depconv\.", r"backbone.stages.\1.blocks.\2.ffn.conv."),
        (r"backbone\.(\d+)\.1\.(\d+)\.mlp\.", r"backbone.stages.\1.blocks.\2.ffn."),
        (r"backbone\.(\d+)\.1\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
        (r"norm\.", r"backbone.norm3."),
        (r"head\.", r"head.fc."),
    ],
    head_shapes=lambda dims, classes: _linear_shapes("head.fc", dims, classes),
    classes_entry="head.fc.weight",
)


def _class_attention_shapes(dims: int, classes: int) -> Shapes:
    shapes: Shapes = {"head.cls_token": (1, 1, dims)}
    for name in (f"head.blocks.{i}" for i in range(CLASS_BLOCKS)):
        shapes |= {
            **_norm_shapes(f"{name}.norm1", dims),
            f"{name}.attn.q.weight": (dims, dims),
            f"{name}.attn.kv.weight": (2 * dims, dims),
            **_linear_shapes(f"{name}.attn.proj", dims, dims),
            **_norm_shapes(f"{name}.norm2", dims),
            **_linear_shapes(f"{name}.ffn.fc1", dims, CLASS_FFN_RATIO * dims),
            **_linear_shapes(f"{name}.ffn.fc2", CLASS_FFN_RATIO * dims, dims),
        }
    return {
        **shapes,
        **_norm_shapes("head.norm", dims),
        **_linear_shapes("head.fc", dims, classes),
        **_linear_shapes("head.aux_fc", dims, classes),
    }


# The ImageNet classifier. Its last norm comes after class attention, and belongs to the head.
LVT_CLASS_ATTENTION = replace(
    LVT_PLAIN,
    renames=[
        (r"cls_token$", r"head.cls_token"),
        (r"post_network\.(\d+)\.mlp\.", r"head.blocks.\1.ffn."),
        (r"post_network\.(\d+)\.", r"head.blocks.\1."),
        (r"aux_head\.", r"head.aux_fc."),
        (r"norm\.", r"head.norm."),
        *LVT_PLAIN.renames,
    ],
    head_shapes=_class_attention_shapes,
    form="class attention",
    has_form=lambda names: any(
        name.startswith(("cls_token", "post_network.", "aux_head.")) for name in names
    ),
    settings={"output_norms": False},
)
# What the authors start their detectors and segmentors from.
LVT_BACKBONE = replace(
    LVT_PLAIN,
    head_shapes=lambda dims, classes: {},
    classes_entry="",
    form="backbone alone",
    has_form=lambda names: all(name.startswith("backbone.") for name in names),
    settings={"output_norms": False},
)

# Of several forms the first that fits.
FAMILIES = (SCALABLEVIT, STVIT, LVT_CLASS_ATTENTION, LVT_BACKBONE, LVT_PLAIN)
