"""What the backbones share: the pyramid of normed outputs, freezing, checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmscalablevit.checkpoints.filling import Filling, read_filling
from mmscalablevit.checkpoints.reading import Checkpoint, CheckpointError, saved_entries
from mmscalablevit.errors import UsageError, listed
from mmscalablevit.models.arch import Arch
from mmscalablevit.models.layers import drop_path_rates, to_nchw, to_nhwc

MIN_INPUT_SIZE = 32


class InputError(UsageError, ValueError):
    """Images do not fit the model; the message says in what, and how to mend it."""


def resolve_out_indices(out_indices: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Check and complete the stages whose maps are asked for.

    Args:
        out_indices: One stage or several, from 0; negative ones count from the last.
        num_stages: Number of stages.

    Returns:
        Ascending stage indices.

    Raises:
        ValueError: A stage does not exist, is named twice, or none is named.
    """
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    for index in given:
        if not -num_stages <= index < num_stages:
            raise ValueError(
                f"out_indices {index} is out of range: the backbone has stages 0 to"
                f" {num_stages - 1}"
            )
    indices = sorted({index % num_stages for index in given})
    if not indices or len(indices) != len(given):
        raise ValueError(f"out_indices names each stage at most once, and one at least: {given}")
    return tuple(indices)


class Stage(nn.Module):
    """Entry convolution and blocks at one resolution.

    Args:
        patch_embed: Maps (B, H, W, C_in) to (B, H', W', C).
        blocks: Each maps (B, H', W', C) to the same shape.
        with_cp: Recompute the blocks' activations in the backward pass to save memory.
    """

    def __init__(
        self, patch_embed: nn.Module, blocks: Sequence[nn.Module], with_cp: bool = False
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.with_cp = with_cp

    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run one block, checkpointed where that saves anything."""
        if self.with_cp and torch.is_grad_enabled() and x.requires_grad:
            return checkpoint(block, x, use_reentrant=False)
        return block(x)

    def run_blocks(self, x: Tensor) -> Tensor:
        """Map (B, H', W', C) to the same shape."""
        for block in self.blocks:
            x = self.run_block(block, x)
        return x

    def forward(self, x: Tensor, after_embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Map (B, H, W, C_in) to (B, H', W', C).

        Args:
            x: The map.
            after_embed: Changes the map that the blocks take.
        """
        x = self.patch_embed(x)
        return self.run_blocks(x if after_embed is None else after_embed(x))


def _refuse_foreign(backbone: nn.Module, keys: Any) -> None:
    """Refuse weights that a model was given, none of them its backbone's.

    MMEngine only logs what did not fit. Parts behind a backbone may come alone.

    Args:
        backbone: The backbone, after the loading.
        keys: The names that were missing and unexpected in the whole model.

    Raises:
        CheckpointError: There was nothing for the backbone, and names that the model lacks.
    """
    missing = set(keys.missing_keys)
    first, *others = (name for name, _ in backbone.named_parameters())
    starts = [name.removesuffix(first) for name in missing if name.endswith(first)]
    empty = [start for start in starts if all(f"{start}{name}" in missing for name in others)]
    if empty and keys.unexpected_keys:
        raise CheckpointError(
            f"the weights fill nothing of {type(backbone).__name__}: they lack {empty[0]}{first},"
            f" and have {listed(keys.unexpected_keys, 3)}; name a file of this model (a"
            " released one goes into the backbone's init_cfg, or through"
            " tools/convert_checkpoint.py first)"
        )


class PyramidBackbone(BaseModule):
    """A sequence of stages whose outputs serve classification and dense tasks alike.

    Stages behind the last output are not built; all else is as in the whole architecture.

    Args:
        build_stage: Builds a stage, which maps channels-last maps, from its number, the channels
            of its input and the drop path rates of its blocks.
        arch: The architecture; ``embed_dims`` has the channels of each stage's output.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Stages whose outputs are returned, each through a LayerNorm of its own,
            ``norm{i}``.
        norm_eps: Epsilon of these LayerNorms; None for outputs without norms.
        frozen_stages: Stages 0 to this one, with their output norms, take no gradient and stay
            in eval mode. -1 freezes none.
        init_cfg: Initialisation by MMEngine's rules. ``dict(type='Pretrained',
            checkpoint=FILE, prefix='backbone.')`` must fill every entry of the backbone,
            save the output norms that the file's model did not have. FILE may be a released one,
            which needs no prefix.
        pretrained: None; MMSegmentation hands what its bases say of ResNet on to any backbone.

    Raises:
        ValueError: ``out_indices`` or ``frozen_stages`` names a stage that does not exist, the
            rate is no probability, or ``pretrained`` is not None.
    """

    # Whether the released classifiers have a norm between the last stage and the head.
    classifier_norm = True

    def __init__(
        self,
        build_stage: Callable[[int, int, list[float]], Stage],
        arch: Arch,
        in_channels: int,
        drop_path_rate: float,
        out_indices: int | Sequence[int],
        norm_eps: float | None,
        frozen_stages: int,
        init_cfg: dict | list[dict] | None,
        pretrained: str | None,
    ) -> None:
        super().__init__(init_cfg)
        if pretrained is not None:
            raise ValueError(
                f"pretrained={pretrained!r} is another backbone's: write pretrained=None in the"
                " model, and in the backbone"
                " init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')"
            )
        self.arch = arch
        self.in_channels = in_channels
        self.embed_dims = tuple(arch["embed_dims"])
        self.depths = tuple(arch["depths"])
        if not -1 <= frozen_stages < len(self.depths):
            raise ValueError(
                f"frozen_stages {frozen_stages} is out of range: -1 (none) to"
                f" {len(self.depths) - 1}"
            )
        self.frozen_stages = frozen_stages
        self.out_indices = resolve_out_indices(out_indices, len(self.depths))
        widths = [in_channels, *self.embed_dims]
        rates = drop_path_rates(drop_path_rate, self.depths)
        self.stages = nn.ModuleList(
            build_stage(i, widths[i], rates[i]) for i in range(self.out_indices[-1] + 1)
        )
        for i in self.out_indices:
            dims = self.embed_dims[i]
            norm = nn.Identity() if norm_eps is None else nn.LayerNorm(dims, norm_eps)
            self.add_module(f"norm{i}", norm)
        self.register_load_state_dict_post_hook(_refuse_foreign)
        self._freeze_stages()

    init_cfg: Any
    # What `init_cfg` names, where it has been read already.
    fillings: list[Filling] | None = None

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``; refuse weights that do not fill the backbone.

        Raises:
            FileNotFoundError: The checkpoint is missing.
            ValueError: The checkpoint does not match; the message lists what differs.
        """
        fillings = self.read_pretrained() if self.fillings is None else self.fillings
        self.fillings = None
        init_cfg = self.init_cfg
        self.init_cfg = [other for other in self._init_cfgs() if other["type"] != "Pretrained"]
        super().init_weights()
        self.init_cfg = init_cfg
        for filling in fillings:
            self.load_state_dict(filling.weights, strict=False)

    def read_pretrained(self) -> list[Filling]:
        """Read the weights that ``init_cfg`` names, and make sure that they fill the backbone.

        The result can be handed on to another backbone of the same settings, as ``fillings``.

        Raises:
            FileNotFoundError: The checkpoint is missing.
            ValueError: The checkpoint does not match; the message lists what differs.
        """
        # A classifier outputs the last map alone and has no norms for the others.
        last = len(self.depths) - 1 if self.classifier_norm else len(self.depths)
        optional = [f"norm{i}." for i in range(last)]
        return [
            read_filling(self, init_cfg["checkpoint"], init_cfg.get("prefix"), optional)
            for init_cfg in self._init_cfgs()
            if init_cfg["type"] == "Pretrained"
        ]

    def _checkpoint_filter(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Convert a released checkpoint that a classifier is given.

        MMPretrain's ImageClassifier looks for a backbone's method of this name, for weights of
        other programs, and has it called with its own entries before it takes them.

        Args:
            state_dict: The entries, or what a file holds; changed in place.
            prefix: What precedes the classifier's names in it; in a larger model all is left as
                it is.
        """
        if not prefix and Checkpoint("", state_dict).is_released:
            converted = saved_entries(state_dict)
            state_dict.clear()
            state_dict.update(converted)

    def _init_cfgs(self) -> list[dict]:
        return [self.init_cfg] if isinstance(self.init_cfg, dict) else list(self.init_cfg or [])

    def _freeze_stages(self) -> None:
        for i, stage in enumerate(self.stages[: self.frozen_stages + 1]):
            frozen = [stage]
            if i in self.out_indices:
                frozen.append(getattr(self, f"norm{i}"))
            for module in frozen:
                module.eval()
                module.requires_grad_(False)

    def set_drop_path_rate(self, rate: float) -> None:
        """Change the stochastic depth: ``rate`` at the last block, growing linearly from 0."""
        rates = drop_path_rates(rate, self.depths)
        for i in range(len(self.stages)):
            for j, block_rate in enumerate(rates[i]):
                block: Any = self.stages.get_submodule(f"{i}.blocks.{j}")
                block.drop_path.drop_prob = block_rate

    def train(self, mode: bool = True) -> PyramidBackbone:
        """Set training mode; frozen stages stay in eval mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning rate decay.

        The first patch embedding is layer 0, then each block is a layer of its own; a later
        patch embedding belongs to the block that follows it. Output norms, and parameters
        outside the backbone, are the last layer.

        Args:
            param_name: Name of the parameter.
            prefix: What precedes the backbone's own names, such as ``'backbone.'``.

        Returns:
            The layer of the parameter, and the number of layers.
        """
        num_layers = sum(self.depths) + 2
        name = param_name.removeprefix(prefix).split(".")
        if not param_name.startswith(prefix) or name[0] != "stages":
            return num_layers - 1, num_layers
        stage = int(name[1])
        if name[2] == "patch_embed" and stage == 0:
            return 0, num_layers
        block = int(name[3]) if name[2] == "blocks" else 0
        return sum(self.depths[:stage]) + block + 1, num_layers

    def forward(
        self, x: Tensor, after_embed: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """Compute the pyramid.

        Args:
            x: Images, (B, in_channels, H, W), H and W at least 32.
            after_embed: Changes the map (B, H', W', C) that the first stage's blocks take, such as
                by mixing the tokens of two images.

        Returns:
            One contiguous map (B, C_i, H_i, W_i) for each of ``out_indices``.

        Raises:
            InputError: The input has another shape.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f"{type(self).__name__} takes images of shape (B, {self.in_channels}, H, W),"
                f" not {tuple(x.shape)}"
            )
        height, width = x.shape[2:]
        if height < MIN_INPUT_SIZE or width < MIN_INPUT_SIZE:
            raise InputError(
                f"{type(self).__name__} needs images of at least {MIN_INPUT_SIZE} pixels a side,"
                f" not {height}x{width}: resize or pad them"
            )
        x = to_nhwc(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x, after_embed if i == 0 else None)
            if i in self.out_indices:
                # mmcv's RoIAlign reads a map's memory as NCHW whatever its strides are.
                outputs.append(to_nchw(getattr(self, f"norm{i}")(x)).contiguous())
        return tuple(outputs)
