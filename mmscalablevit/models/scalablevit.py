"""ScalableViT: scalable and interactive window-based self-attention, stacked in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmscalablevit.models.attention import ATTENTIONS, SSA, WINDOW_ATTENTIONS
from mmscalablevit.models.layers import PEG, Block, PatchEmbed, drop_path_rates, init_layer
from mmscalablevit.models.pyramid import (
    Arch,
    PyramidBackbone,
    Stage,
    check_ratios,
    check_whole_numbers,
    resolve_arch,
)

PER_STAGE_KEYS = ("embed_dims", "depths", "num_heads", "channel_ratios", "spatial_ratios")
DEFAULTS: Arch = {"attentions": ("IWSA", "SSA"), "peg": True, "window_size": 7, "ffn_ratio": 4.0}

SMALL: Arch = {
    "embed_dims": [64, 128, 256, 512],
    "depths": [2, 2, 20, 2],
    "num_heads": [2, 4, 8, 16],
    "channel_ratios": [1.25, 1.25, 1.25, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
BASE: Arch = {
    "embed_dims": [96, 192, 384, 768],
    "depths": [2, 2, 14, 6],
    "num_heads": [3, 6, 12, 24],
    "channel_ratios": [2.0, 1.25, 1.25, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
LARGE: Arch = {
    "embed_dims": [128, 256, 512, 1024],
    "depths": [2, 6, 12, 4],
    "num_heads": [4, 8, 16, 32],
    "channel_ratios": [0.25, 0.5, 1.0, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
ARCH_ZOO = {"small": SMALL, "s": SMALL, "base": BASE, "b": BASE, "large": LARGE, "l": LARGE}


class ScalableViTStage(Stage):
    """A stage with a position encoding generator after its first block."""

    def __init__(
        self, patch_embed: nn.Module, blocks: Sequence[nn.Module], peg: nn.Module, with_cp: bool
    ) -> None:
        super().__init__(patch_embed, blocks, with_cp)
        self.peg = peg

    def run_blocks(self, x: Tensor) -> Tensor:
        """Map (B, H', W', C) to the same shape."""
        for i, block in enumerate(self.blocks):
            x = self.run_block(block, x)
            if i == 0:
                x = self.peg(x)
        return x


def check_arch(arch: Arch) -> None:
    """Check what only ScalableViT's architectures have.

    Raises:
        ValueError: A value is inconsistent; the message names its key.
    """
    attentions = arch["attentions"]
    if isinstance(attentions, str) or not isinstance(attentions, Sequence) or not attentions:
        raise ValueError(f"arch['attentions'] is a list of names, not {attentions!r}")
    for name in attentions:
        if name not in ATTENTIONS:
            raise ValueError(
                f"arch['attentions'] has an unknown name {name!r}: known are"
                f" {', '.join(ATTENTIONS)}"
            )
    if not isinstance(arch["peg"], bool):
        raise ValueError(f"arch['peg'] is True or False, not {arch['peg']!r}")
    window = arch["window_size"]
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise ValueError(f"arch['window_size'] needs a whole number above 0, not {window!r}")
    check_ratios(arch, "ffn_ratio", [arch["ffn_ratio"]] * len(arch["depths"]))
    check_whole_numbers(arch, "spatial_ratios")
    check_ratios(arch, "channel_ratios", arch["channel_ratios"])
    for stage, (dims, heads, channel_ratio) in enumerate(
        zip(arch["embed_dims"], arch["num_heads"], arch["channel_ratios"], strict=True)
    ):
        scaled = int(dims * channel_ratio)
        if scaled % heads:
            raise ValueError(
                f"arch: embed_dims {dims} times channel_ratios {channel_ratio} makes {scaled}"
                f" channels in stage {stage}, which its num_heads {heads} does not divide"
            )


@MODELS.register_module()
class ScalableViT(PyramidBackbone):
    """ScalableViT (`ECCV 2022 <https://arxiv.org/abs/2203.10790>`_).

    One class for classification, detection and segmentation: only ``out_indices`` differs.
    Images may have any size of at least 32 pixels a side; where the released code runs, the
    outputs equal those of the released models.

    Args:
        arch: ``'small'``/``'s'``, ``'base'``/``'b'``, ``'large'``/``'l'``, or a dict with lists
            of one entry a stage:

            - **embed_dims**: channels.
            - **depths**: number of blocks.
            - **num_heads**: attention heads.
            - **channel_ratios**: r_c of SSA, its query and key channels per channel.
            - **spatial_ratios**: r of SSA, its reduction along each side (r_n = 1 / r^2).

            and, optionally:

            - **attentions**: the attentions of a stage's blocks, repeated in this order:
              ``'IWSA'``, ``'SSA'``, and for the paper's ablations ``'WSA'``,
              ``'WSAWithLEM'``, ``'SWSA'``. Default ``('IWSA', 'SSA')``.
            - **peg**: whether stages have a position encoding generator. Default True.
            - **window_size**: side of a window. Default 7.
            - **ffn_ratio**: hidden channels of the FFN per channel. Default 4.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Stages whose outputs are returned, from 0.
        frozen_stages: Stages 0 to this one are frozen; -1 for none.
        with_cp: Recompute the blocks' activations in the backward pass to save memory.
        init_cfg: Initialisation by MMEngine's rules, on top of the released code's own.
            ``dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')`` loads ImageNet
            weights.

    Raises:
        ValueError: An argument is unknown, out of range or inconsistent; the message names it.

    Example:
        >>> model = ScalableViT('small', out_indices=(0, 1, 2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 200, 316))]
        [(1, 64, 50, 79), (1, 128, 25, 40), (1, 256, 13, 20), (1, 512, 7, 10)]
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = "small",
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (3,),
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        settings = resolve_arch(arch, ARCH_ZOO, DEFAULTS, PER_STAGE_KEYS)
        check_arch(settings)
        rates = drop_path_rates(drop_path_rate, settings["depths"])
        widths = [in_channels, *settings["embed_dims"]]
        stages = [
            self._build_stage(settings, i, widths[i], rates[i], with_cp) for i in range(len(rates))
        ]
        super().__init__(
            stages,
            arch=settings,
            in_channels=in_channels,
            out_indices=out_indices,
            norm_eps=1e-6,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )
        self.apply(init_layer)

    @staticmethod
    def _build_stage(
        arch: Arch, stage: int, in_channels: int, drop_paths: list[float], with_cp: bool
    ) -> ScalableViTStage:
        dims, heads = arch["embed_dims"][stage], arch["num_heads"][stage]
        blocks = []
        for j, drop_path in enumerate(drop_paths):
            name = arch["attentions"][j % len(arch["attentions"])]
            attn: nn.Module
            if name == "SSA":
                attn = SSA(
                    dims, heads, arch["channel_ratios"][stage], arch["spatial_ratios"][stage]
                )
            else:
                attn = WINDOW_ATTENTIONS[name](dims, heads, arch["window_size"])
            blocks.append(Block(attn, dims, arch["ffn_ratio"], drop_path))
        kernel_size, stride = (7, 4) if stage == 0 else (3, 2)
        patch_embed = PatchEmbed(in_channels, dims, kernel_size, stride)
        peg = PEG(dims) if arch["peg"] else nn.Identity()
        return ScalableViTStage(patch_embed, blocks, peg, with_cp)
