"""The configs of STViT and LVT against the published recipes and counts."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.models.complexity import Complexity, count_complexity
from tests import golden

ROOT = Path(__file__).parents[2]
FOLDERS = [
    ROOT / "configs" / task / model
    for task in ("classification", "detection", "segmentation")
    for model in ("stvit", "lvt")
]
LEAVES = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.py"))}
ARCHS = {"small": "s", "base": "b", "large": "l"}

# In print: parameters in M, multiply-accumulates in G, and by how much the count may differ.
PUBLISHED = {
    "stvit-small_8xb128_in1k": (25, 4.4, 0.015),  # the released model has 4.35
    "stvit-base_8xb128_in1k": (52, 9.9, 0.01),
    "stvit-large_8xb128_in1k": (95, 15.6, 0.01),
    "stvit-small_8xb64_in1k-384px": (25, 14.1, 0.01),
    "stvit-base_8xb64_in1k-384px": (52, 32.5, 0.04),  # the released model has 31.40
    "stvit-large_8xb64_in1k-384px": (95, 49.7, 0.01),
    "lvt_segformer_8xb2-160k_ade20k-512x512": (3.9, 10.6, 0.01),
    "panoptic-fpn_lvt_fpn_1x_coco": (5.4, 56.4, None),  # without a mask head
}
# Counted on the released models, without the constant convolutions that this package has not.
RELEASED = {
    "stvit-small_8xb128_in1k": (25.496, 4.34),
    "stvit-base_8xb128_in1k": (51.691, 9.82),
    "stvit-large_8xb128_in1k": (94.971, 15.54),
    "stvit-small_8xb64_in1k-384px": (25.496, 14.08),
    "stvit-base_8xb64_in1k-384px": (51.691, 31.35),
    "stvit-large_8xb64_in1k-384px": (94.971, 49.58),
    "lvt_8xb128_in1k": (3.430 - 2 * (64 + 64 + 160) / 1e6 + 0.257, 0.86),
}


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(LEAVES[name])


@functools.cache
def build(name: str) -> nn.Module:
    """The model of a config, with shapes and without values."""
    cfg = load(name)
    import_modules_from_strings(**cfg.custom_imports)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        model = dict(cfg.model)
        if cfg.default_scope == "mmpretrain":
            model["data_preprocessor"] = None
        return MODELS.build(model)


@functools.cache
def count(name: str) -> Complexity:
    metadata = metafile_entry(name)["Metadata"]
    return count_complexity(build(name), tuple(metadata["Input Size"]))


def metafile_entry(name: str) -> dict:
    metafile = yaml.safe_load((LEAVES[name].parent / "metafile.yml").read_text())
    return next(model for model in metafile["Models"] if model["Name"] == name)


@pytest.mark.parametrize("name", LEAVES)
def test_leaf_is_short_and_documented(name: str) -> None:
    path = LEAVES[name]
    assert len(path.read_text().splitlines()) < 15
    entry = metafile_entry(name)
    assert ROOT / entry["Config"] == path
    assert f"({name}.py)" in (path.parent / "README.md").read_text()
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert str((path.parent / "metafile.yml").relative_to(ROOT)) in index["Import"]


@pytest.mark.parametrize("name", LEAVES)
def test_channels_fit_together(name: str) -> None:
    model = build(name)
    backbone = model.backbone
    used = [backbone.embed_dims[i] for i in backbone.out_indices]
    if "in1k" in name:
        assert used == [backbone.embed_dims[-1]]
        head = model.head.conv.conv if "stvit" in name else model.head.fc
        assert used[0] == (head.in_channels if "stvit" in name else head.in_features)
        return
    assert len(used) == 4
    consumer = model.neck if "coco" in name else model.decode_head
    assert list(consumer.in_channels) == used
    if "upernet" in name:
        assert model.auxiliary_head.in_channels == used[2]
    if "stvit" in name:
        norms = [m for m in backbone.modules() if "BatchNorm" in type(m).__name__]
        assert norms and all(isinstance(module, nn.SyncBatchNorm) for module in norms)
        assert all(isinstance(getattr(backbone, f"norm{i}"), nn.LayerNorm) for i in range(4))
    weights = load(name).model.backbone.init_cfg.checkpoint
    size = ARCHS.get(load(name).model.backbone.arch)
    assert weights == f"checkpoints/{'lvt' if 'lvt' in name else f'stvit-{size}'}_in1k.pth"


@pytest.mark.parametrize("name", LEAVES)
def test_parameters_of_the_metafile(name: str) -> None:
    assert metafile_entry(name)["Metadata"]["Parameters"] == sum(
        parameter.numel() for parameter in build(name).parameters()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_flops_of_the_metafile(name: str) -> None:
    metadata = metafile_entry(name)["Metadata"]
    assert metadata["FLOPs"] == metadata["FLOPs (everything counted)"] == count(name).total_macs


@pytest.mark.parametrize("name", RELEASED)
def test_counts_equal_those_of_the_released_models(name: str) -> None:
    parameters, flops = RELEASED[name]
    assert count(name).parameters / 1e6 == pytest.approx(parameters, abs=1e-3)
    assert count(name).total_macs / 1e9 == pytest.approx(flops, abs=5e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_agree_with_the_published_ones(name: str) -> None:
    parameters, flops, tolerance = PUBLISHED[name]
    counts = count(name)
    assert counts.parameters / 1e6 == pytest.approx(parameters, rel=0.02)
    macs = counts.total_macs
    if tolerance is None:
        head = build(name).roi_head.mask_head
        shape = (1, head.in_channels, 14, 14)
        mask = sum(
            module.weight.numel() * (4 if "upsample" in path or "logits" in path else 1)
            for path, module in head.named_modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and "upsample" not in path
        )
        mask += head.upsample.weight.numel()
        macs -= 100 * shape[2] * shape[3] * mask
        tolerance = 0.015
    assert macs / 1e9 == pytest.approx(flops, rel=tolerance)


@pytest.mark.parametrize("arch", ARCHS)
def test_stvit_recipe(arch: str) -> None:
    cfg = load(f"stvit-{arch}_8xb128_in1k")
    backbone = cfg.model.backbone
    assert backbone.drop_path_rate == {"small": 0.1, "base": 0.4, "large": 0.4}[arch]
    assert cfg.train_cfg.max_epochs == 300
    if arch == "large":
        (hook,) = cfg.custom_hooks
        assert (hook.type, hook.rate, hook.begin) == ("DropPathHook", 0.6, 300 - 40)
    else:
        assert not cfg.get("custom_hooks")

    fine = load(f"stvit-{arch}_8xb64_in1k-384px")
    assert fine.train_cfg.max_epochs == fine.param_scheduler[-1].end == 30
    assert fine.optim_wrapper.optimizer.lr == 5e-6
    assert fine.optim_wrapper.optimizer.weight_decay == 1e-8
    assert fine.load_from == f"checkpoints/stvit-{ARCHS[arch]}_in1k.pth"
    assert fine.auto_scale_lr.base_batch_size == 8 * fine.train_dataloader.batch_size
    assert fine.train_dataloader.dataset.pipeline[1].scale == 384
    for loader in (fine.val_dataloader, fine.test_dataloader):
        assert [step.get("crop_size") for step in loader.dataset.pipeline][2] == 384
    assert [step["type"] for step in fine.train_dataloader.dataset.pipeline] == [
        step["type"] for step in cfg.train_dataloader.dataset.pipeline
    ]


@pytest.mark.parametrize("name", ["stvit-small_8xb128_in1k", "lvt_8xb128_in1k"])
def test_no_weight_decay_on_biases_and_norms(name: str) -> None:
    model = build(name)
    wrapper = {**load(name).optim_wrapper, "type": "OptimWrapper"}
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        optimizer = build_optim_wrapper(model, wrapper).optimizer
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for key, parameter in model.named_parameters():
        exempt = parameter.ndim == 1 or ".peg." in key
        assert decays[id(parameter)] == (0 if exempt else 0.05), key


def test_segformer_learns_ten_times_as_fast_in_its_head() -> None:
    name = "lvt_segformer_8xb2-160k_ade20k-512x512"
    model = build(name)
    optimizer = build_optim_wrapper(model, load(name).optim_wrapper).optimizer
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    for key, parameter in model.named_parameters():
        head = key.startswith("decode_head.")
        assert rates[id(parameter)] == pytest.approx(6e-4 if head else 6e-5), key
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for module in model.backbone.modules():
        if isinstance(module, nn.LayerNorm):
            assert all(decays[id(parameter)] == 0 for parameter in module.parameters())


@pytest.mark.parametrize("schedule", ["1x", "ms-3x"])
def test_panoptic_recipe(schedule: str) -> None:
    cfg = load(f"panoptic-fpn_lvt_fpn_{schedule}_coco")
    epochs = {"1x": 12, "ms-3x": 36}[schedule]
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == epochs
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 3e-4, 1e-4)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.model.roi_head.bbox_head.fc_out_channels == 160
    assert cfg.model.semantic_head.norm_cfg.num_groups == 12
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert resize.scale == ([(1333, 640), (1333, 800)] if schedule == "ms-3x" else (1333, 800))


@pytest.mark.parametrize("name", ["stvit_small", "stvit_base", "stvit_large", "lvt"])
def test_a_converted_checkpoint_fills_the_classifier_with_nothing_left_over(name: str) -> None:
    with torch.device("meta"):
        released = {k: torch.empty(shape) for k, shape in golden.released_shapes(name).items()}
    expected = build(f"{name.replace('_', '-')}_8xb128_in1k").state_dict()
    converted = convert(released).state_dict
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in expected.items()
    }


@pytest.mark.parametrize(
    ("name", "tolerance"), [("stvit_small_224x224", 5e-5), ("lvt_224x224", 1e-5)]
)
def test_the_converted_model_gives_the_released_logits(name: str, tolerance: float) -> None:
    data = golden.load_golden(name)
    released = golden.released_name(name)
    weights = golden.released_state_dict(released, int(data["weight_seed"]))
    cfg = load(f"{released.replace('_', '-')}_8xb128_in1k")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build({**cfg.model, "data_preprocessor": None}).eval()
    model.load_state_dict(convert(weights).state_dict)
    with torch.no_grad():
        logits = model(golden.golden_image(data), mode="tensor")
    expected = torch.from_numpy(data["logits"])
    assert (logits - expected).abs().max() < tolerance * expected.std()
