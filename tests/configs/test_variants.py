"""The variants of ScalableViT-S in Tables 5(a), 5(b) and 7, as the paper describes them."""

from __future__ import annotations

import copy

from mmscalablevit.models.scalablevit import PEG
from tests.leaves import LEAVES, build, load

# By name: the attentions of the blocks in turn, whether there is a PEG, r_c of each stage, and
# whether the paper prints an mIoU.
RATIOS = (1.25, 1.25, 1.25, 1)
VARIANTS = {
    "-wsa": (("WSA",), True, RATIOS, True),
    "-iwsa": (("IWSA",), True, RATIOS, True),
    "-ssa": (("SSA",), True, RATIOS, True),
    "-ssa-rc1": (("SSA",), True, (1, 1, 1, 1), True),
    "-swsa-ssa": (("SWSA", "SSA"), True, RATIOS, False),
    "-ssa-iwsa": (("SSA", "IWSA"), True, RATIOS, False),
    "-wsa-ssa-nopeg": (("WSA", "SSA"), False, RATIOS, True),
    "-wsa-ssa": (("WSA", "SSA"), True, RATIOS, True),
    "-lem-ssa-nopeg": (("WSAWithLEM", "SSA"), False, RATIOS, False),
    "-iwsa-ssa-nopeg": (("IWSA", "SSA"), False, RATIOS, True),
    "-lem-ssa": (("WSAWithLEM", "SSA"), True, RATIOS, True),
}
CLASSIFIER = "scalablevit-small{}_8xb128_in1k"
SEGMENTOR = "scalablevit-s{}_fpn_4xb4-80k_ade20k-512x512"
WIDTHS, DEPTHS, HEADS = (64, 128, 256, 512), (2, 2, 20, 2), (2, 4, 8, 16)


def parameters(variant: str) -> int:
    return sum(p.numel() for p in build(CLASSIFIER.format(variant)).parameters())


def test_every_variant_is_listed() -> None:
    listed = {CLASSIFIER.format(name) for name in VARIANTS}
    listed |= {SEGMENTOR.format(name) for name, (*_, miou) in VARIANTS.items() if miou}
    found = {name for name in LEAVES if name.startswith(("scalablevit-small-", "scalablevit-s-"))}
    assert listed == found


def test_backbones() -> None:
    for name, (attentions, peg, ratios, _) in VARIANTS.items():
        backbone = build(CLASSIFIER.format(name)).backbone
        assert backbone.stages[-1].blocks[-1].drop_path.drop_prob == 0.2
        for stage, width, depth, heads, ratio in zip(
            backbone.stages, WIDTHS, DEPTHS, HEADS, ratios, strict=True
        ):
            assert isinstance(stage.peg, PEG) is peg
            assert len(stage.blocks) == depth
            for i, block in enumerate(stage.blocks):
                attention = block.attn
                assert type(attention).__name__ == attentions[i % len(attentions)]
                assert attention.num_heads == heads
                assert attention.proj.out_features == width
                if type(attention).__name__ == "SSA":
                    assert attention.q.out_features == int(width * ratio)
                else:
                    assert attention.window_size == 7


def test_a_variant_has_its_models_recipe() -> None:
    for name, (*_, miou) in VARIANTS.items():
        for leaf in [CLASSIFIER, SEGMENTOR][: 1 + miou]:
            recipes = []
            for cfg in (load(leaf.format(name)), load(leaf.format(""))):
                cfg = copy.deepcopy(cfg)
                cfg.model.backbone.pop("arch")
                cfg.model.backbone.get("init_cfg", {}).pop("checkpoint", None)
                recipes.append(cfg.to_dict())
            assert recipes[0] == recipes[1], name


def test_sizes_differ_by_what_the_modules_hold() -> None:
    # A depth-wise 3x3 convolution has ten parameters a channel.
    blocks = sum(10 * width * depth for width, depth in zip(WIDTHS, DEPTHS, strict=True))
    assert parameters("-iwsa") - parameters("-wsa") == blocks
    assert parameters("") - parameters("-wsa-ssa") == blocks // 2
    assert parameters("-lem-ssa") == parameters("") == parameters("-ssa-iwsa")
    for name in ("", "-lem-ssa", "-wsa-ssa"):
        without = f"{name or '-iwsa-ssa'}-nopeg"
        assert parameters(name) - parameters(without) == 10 * sum(WIDTHS)
    # Shifted windows have a bias for each of 13 x 13 offsets in every second block's heads.
    biases = sum(13**2 * heads * depth // 2 for heads, depth in zip(HEADS, DEPTHS, strict=True))
    assert parameters("-swsa-ssa") - parameters("-wsa-ssa") == biases
