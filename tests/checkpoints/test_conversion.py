import pytest
import torch
from mmengine.registry import MODELS

from mmscalablevit.checkpoints.conversion import convert, select_state_dict
from mmscalablevit.checkpoints.released import FAMILIES
from tests import golden

NAMES = [
    *(f"{family}_{size}" for family in ("scalablevit", "stvit") for size in ("small", "base")),
    "scalablevit_large",
    "stvit_large",
    "lvt",
    "lvt_cls",
]
BACKBONES = {family.name.lower(): family for family in FAMILIES}


def shapes_alone(name):
    """The entries of a released model, without values."""
    with torch.device("meta"):
        return {key: torch.empty(shape) for key, shape in golden.released_shapes(name).items()}


@pytest.fixture(scope="module")
def scalablevit():
    return golden.released_state_dict("scalablevit_small")


@pytest.mark.parametrize("name", NAMES)
def test_every_released_entry_arrives(name):
    state_dict = shapes_alone(name)
    family, _, arch = name.partition("_")
    converted = convert({"model": state_dict, "epoch": 300})
    assert converted.model == BACKBONES[family].name
    expected = "lvt" if family == "lvt" else arch
    assert (converted.arch, converted.num_classes) == (expected, 1000)
    dropped = [key for key in state_dict if key.endswith("fold.weights")]
    assert bool(dropped) == (family == "stvit")
    elements = sum(value.numel() for key, value in state_dict.items() if key not in dropped)
    assert sum(value.numel() for value in converted.state_dict.values()) == elements
    settings = {"output_norms": False} if name == "lvt_cls" else {}
    with torch.device("meta"):
        backbone = MODELS.build({"type": converted.model, "arch": converted.arch, **settings})
    names = {key for key in converted.state_dict if key.startswith("backbone.")}
    assert names == {f"backbone.{key}" for key in backbone.state_dict()}


def test_keys_and_values_are_joined_keys_first(scalablevit):
    state_dict = convert(scalablevit).state_dict
    joined = state_dict["backbone.stages.0.blocks.1.attn.kv.weight"]
    assert torch.equal(joined[:80], scalablevit["stages.0.1.attn.k.weight"])
    assert torch.equal(joined[80:], scalablevit["stages.0.1.attn.v.weight"])


def test_stvit_keeps_the_statistics_of_its_batch_norms():
    released = shapes_alone("stvit_small")
    released["patch_embed.proj.2.running_var"] = torch.rand(32)
    released["layers.0.downsample.proj.1.num_batches_tracked"] = torch.tensor(7)
    released["norm.running_mean"] = torch.rand(1024)
    state_dict = convert(released).state_dict
    for key, ours in {
        "patch_embed.proj.2.running_var": "backbone.stages.0.patch_embed.norm0.running_var",
        "layers.0.downsample.proj.1.num_batches_tracked": (
            "backbone.stages.1.patch_embed.norm.num_batches_tracked"
        ),
        "norm.running_mean": "head.conv.bn.running_mean",
    }.items():
        assert torch.equal(state_dict[ours], released[key])


def test_the_backbone_of_lvt_alone():
    """What its authors start detectors and segmentors from: 148 entries and nothing else."""
    released = golden.released_state_dict("lvt_cls")
    backbone = {key: value for key, value in released.items() if key.startswith("backbone.")}
    assert len(backbone) == 148
    converted = convert(backbone)
    assert (converted.title, converted.num_classes) == ("LVT (backbone alone)", None)
    whole = convert(released).state_dict
    assert len(whole) == 179
    assert converted.state_dict.keys() == {key for key in whole if key.startswith("backbone.")}
    assert all(torch.equal(value, whole[key]) for key, value in converted.state_dict.items())


CLASSES = {
    "scalablevit_small": ("head.3", 4096),
    "stvit_small": ("head", 1024),
    "lvt": ("head", 256),
    "lvt_cls": ("head", 256),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_head_for_other_classes_is_kept(name):
    head, dims = CLASSES[name]
    changed = {f"{head}.weight": torch.zeros(7, dims), f"{head}.bias": torch.zeros(7)}
    if name == "lvt_cls":
        changed |= {f"aux_{key}": value for key, value in changed.items()}
    assert convert({"state_dict": {**shapes_alone(name), **changed}}).num_classes == 7


def test_all_ways_to_keep_a_state_dict():
    plain, averaged = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    for name in ("model", "state_dict"):
        both = {name: plain, f"{name}_ema": averaged, "epoch": 3}
        assert select_state_dict(both) is plain
        assert select_state_dict(both, ema=True) is averaged
        assert select_state_dict({f"{name}_ema": averaged}) is averaged
        assert select_state_dict({name: plain, f"{name}_ema": None}) is plain
    assert select_state_dict(plain) is plain
    with pytest.raises(ValueError, match="no moving average"):
        select_state_dict({"model": plain}, ema=True)
    with pytest.raises(ValueError, match=r"several state dicts \(model, state_dict\)"):
        select_state_dict({"model": plain, "state_dict": averaged})


# By a released model: entries that are taken out, entries that are put in, words of the message.
CHANGES = [
    ("scalablevit_small", ["norm.weight"], {}, ["missing: backbone.norm3.weight"]),
    ("scalablevit_small", ["stages.0.1.attn.v.weight"], {}, ["missing: ", "blocks.1.attn.kv.w"]),
    ("scalablevit_small", [], {"norm.weight": (3,)}, ["backbone.norm3.weight is (3,)", "(512,)"]),
    (
        "scalablevit_small", [], {"patch_embeds.0.proj.weight": (65, 3, 7, 7)},
        ["[65, 128, 256, 512]", "small [64, 128, 256, 512]"],
    ),
    ("scalablevit_small", ["patch_embeds.0.proj.weight"], {}, ["widths [128, 256, 512]"]),
    ("stvit_base", ["layers.2.blocks.3.gamma_1"], {}, ["STViT-base", "blocks.3.scale1.weight"]),
    (
        "stvit_small", [], {"layers.0.blocks.0.attn.stoken_refine.qkv.weight": (9, 64, 1, 1)},
        ["backbone.stages.0.blocks.0.attn.qkv.weight is (9, 64)", "(192, 64)"],
    ),
    ("stvit_base", [], {"extra.weight": (2,)}, ["unknown: extra.weight"]),
    ("lvt", [], {"backbone.0.2.weight": (64,)}, ["unknown: backbone.0.2.weight"]),
    (
        "lvt",
        ["norm.weight", "norm.bias", "head.weight", "head.bias", "backbone.3.1.1.norm2.bias"],
        {}, ["LVT (backbone alone)", "missing: backbone.stages.3.blocks.1.norm2.bias"],
    ),
    # never the plain head, whatever is left of class attention
    ("lvt", [], {"cls_token": (1, 1, 256)}, ["(class attention)", "head.blocks.0"]),
    ("lvt_cls", ["cls_token"], {}, ["(class attention)", "missing: head.cls_token"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "remove", "add", "words"), CHANGES)
def test_what_differs_is_named(name, remove, add, words):
    kept = {key: value for key, value in shapes_alone(name).items() if key not in remove}
    with pytest.raises(ValueError) as error:
        convert({**kept, **{key: torch.zeros(shape) for key, shape in add.items()}})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("first", "second"), [("scalablevit_small", "stvit_small"), ("stvit_small", "lvt")]
)
def test_a_mixture_is_refused(first, second):
    one, other = shapes_alone(first), shapes_alone(second)
    half = dict(list(one.items())[: len(one) // 2])
    rest = dict(list(other.items())[len(other) // 2 :])
    for mixture in ({**half, **rest}, {**other, **half}):
        with pytest.raises(ValueError, match=r"mixture|not the released|no released"):
            convert(mixture)
    with pytest.raises(ValueError, match=r"mixture: it has entries of .*STViT"):
        convert({**one, **other})
