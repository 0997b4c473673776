"""Each config alone: it keeps what its name says, is read on both stacks, and its parts fit."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.utils import package_utils
from torch import nn

from mmscalablevit.environment.facts import ONEDL, UPSTREAM
from tests.integration.test_every_config import REPRESENTATIVES
from tests.leaves import LEAVES, ROOT, build, load


@pytest.fixture(scope="module")
def renamed() -> Iterator[None]:
    """No distribution has OpenMMLab's name, as where the maintained forks are installed.

    By those names MMEngine finds ``mmseg::...``, but not ``mmdet::...``.
    """
    find = importlib.metadata.distribution

    def find_renamed(name: str) -> importlib.metadata.Distribution:
        if name.lower() in UPSTREAM.values():
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    load.cache_clear()  # so that all configs are read in here
    with pytest.MonkeyPatch.context() as patch:
        for module in (importlib.metadata, package_utils):
            if hasattr(module, "distribution"):
                patch.setattr(module, "distribution", find_renamed)
        yield


def test_the_fixture_renames_what_the_forks_rename(renamed: None, tmp_path: Any) -> None:
    assert set(UPSTREAM.values()).isdisjoint(ONEDL.values())
    path = tmp_path / "config.py"
    path.write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    with pytest.raises(ModuleNotFoundError, match="mmsegmentation is not installed"):
        Config.fromfile(path)


def test_nothing_lets_mmengine_install_a_package() -> None:
    """Its hub does, over a fork; and configs with ``read_base`` find no modules of the forks."""
    for part in ("configs", "mmscalablevit", "tools"):
        for path in (ROOT / part).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
            for node in ast.walk(tree):
                names = [getattr(node, key, None) for key in ("name", "module", "attr")]
                assert not {"mmengine.hub", "hub", "read_base"} & set(names), path


def is_flat(name: str, parameter: nn.Parameter, module: nn.Module) -> bool:
    """Whether a parameter is a bias, a norm's, or of what encodes positions."""
    others = (".peg.", "relative_position_bias", "cls_token")
    return parameter.ndim == 1 or any(other in name for other in others)


def is_norm_of_backbone(name: str, parameter: nn.Parameter, module: nn.Module) -> bool:
    """Whether a parameter is a norm's or the position encoding's, in the backbone."""
    of_norm = "Norm" in type(module).__name__
    return name.startswith("backbone.") and (of_norm or ".peg." in name)


class Recipe(NamedTuple):
    """How the papers train: length in epochs or iterations, and AdamW's settings.

    ``batch`` is the total one for which the learning rate is; ``exempt`` says which parameters take
    no weight decay.
    """

    length: int | None
    lr: float
    weight_decay: float
    batch: int | None
    exempt: Callable[[str, nn.Parameter, nn.Module], bool] | None


# By a part of the names, the first that fits.
RECIPES = {
    "scalablevit-tiny_upernet.*digits": Recipe(None, 2e-3, 0.05, None, is_flat),
    "_digits": Recipe(None, 1e-3, 0.05, None, is_flat),
    "_cifar10-64px": Recipe(None, 5e-3, 0.05, None, is_flat),
    "_bccd|_camvid": Recipe(None, 2e-3, 0.05, None, is_flat),
    "_cifar10": Recipe(None, 1e-3, 0.05, None, is_flat),
    "lvt-ca.*_in1k": Recipe(310, 1.6e-3, 0.05, 1024, is_flat),
    "_in1k-384px": Recipe(30, 5e-6, 1e-8, 512, is_flat),
    "_in1k": Recipe(300, 1e-3, 0.05, 1024, is_flat),
    "panoptic-fpn.*_1x_coco": Recipe(12, 3e-4, 1e-4, 64, None),
    "panoptic-fpn.*_ms-3x_coco": Recipe(36, 3e-4, 1e-4, 64, None),
    "retinanet.*_1x_coco": Recipe(12, 1e-4, 1e-4, 16, None),
    "mask-rcnn.*_1x_coco": Recipe(12, 2e-4, 1e-4, 16, None),
    "_ms-3x_coco": Recipe(36, 1e-4, 0.05, 16, is_norm_of_backbone),
    "_fpn.*-80k_ade20k": Recipe(80_000, 1e-4, 1e-4, 16, None),
    "-160k_ade20k": Recipe(160_000, 6e-5, 0.01, 16, is_norm_of_backbone),
}


@pytest.mark.parametrize("name", LEAVES)
def test_leaf(name: str, renamed: None) -> None:
    assert len(LEAVES[name].read_text().splitlines()) < 15
    assert "mmscalablevit" in load(name).custom_imports.imports
    recipe = next(recipe for part, recipe in RECIPES.items() if re.search(part, name))
    check_schedule(name, recipe)
    check_start(name)
    check_shapes(name)
    check_optimizer(name, recipe)


def check_schedule(name: str, recipe: Recipe) -> None:
    cfg = load(name)
    gpus, batch = map(int, (re.findall(r"_(\d)xb(\d+)", name) or [(8, recipe.batch // 8)])[0])
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch == (recipe.batch or gpus * batch)
    assert not cfg.auto_scale_lr.get("enable")
    length = cfg.train_cfg.get("max_epochs") or cfg.train_cfg.max_iters
    last = cfg.param_scheduler[-1]
    # LVT trains ten epochs more at the end of the wave.
    end = last.T_max + 10 if last.type == "WarmupCosineLR" else last.end
    assert end == length == (recipe.length or length)
    if "digits" in name:  # the figures of the README need the same numbers in the same steps
        assert cfg.randomness.seed == 0
        assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 0.05 * length
        assert "Flip" not in str(cfg.train_dataloader.dataset.pipeline)


def check_start(name: str) -> None:
    """The weights that a training starts from are the classifier's of the same model."""
    cfg = load(name)
    if re.search("digits|cifar10|bccd|camvid|8xb128_in1k", name):
        assert not cfg.get("load_from") and "Pretrained" not in str(cfg.model)
        return
    model = re.search("(scalablevit|stvit|lvt)[^_]*", name)[0]
    size = {"small": "s", "base": "b", "large": "l"}
    model = re.sub("-(small|base|large)", lambda match: "-" + size[match[1]], model)
    expected = f"checkpoints/{model}_in1k.pth"
    if model.count("-") > 1:  # a variant, of which nothing is released
        classifier = f"{model.replace('-s-', '-small-')}_8xb128_in1k"
        expected = f"work_dirs/{classifier}/epoch_300.pth"
        assert cfg.model.backbone.arch == load(classifier).model.backbone.arch
    if "in1k" in name:
        assert cfg.load_from == expected
    else:
        start = {"type": "Pretrained", "checkpoint": expected, "prefix": "backbone."}
        assert cfg.model.backbone.init_cfg == start


def check_shapes(name: str) -> None:
    """An image goes through the whole model, and each of the backbone's maps has a use."""
    model = build(name)
    image = torch.empty(2, 3, 64, 64, device=next(model.parameters()).device)
    if "classification" in LEAVES[name].parts:
        assert model(image, mode="tensor").shape == (2, 1000 if "in1k" in name else 10)
        return
    maps = model.extract_feat(image)
    number = len(model.backbone.out_indices)
    # A map below FPN's start_level or outside a head's in_index would be left out, and its norm
    # would stop distributed training.
    if model.with_neck:
        assert len(model.neck.lateral_convs) == number
    if hasattr(model, "decode_head"):
        classes = 150 if "ade20k" in name else 11
        if not model.with_neck:
            assert len(model.decode_head.in_index) == number
        assert model.decode_head(maps).shape[1] == classes
        if model.with_auxiliary_head:
            assert model.auxiliary_head(maps).shape[1] == classes
    elif hasattr(model, "bbox_head"):
        model.bbox_head(maps)
    else:
        model.rpn_head(maps)


def check_optimizer(name: str, recipe: Recipe) -> None:
    model = build(name)
    settings = {**load(name).optim_wrapper, "type": "OptimWrapper"}
    settings.pop("dtype", None)
    optimizer = build_optim_wrapper(model, settings).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for path, module in model.named_modules():
        for part, parameter in module.named_parameters(path, recurse=False):
            exempt = recipe.exempt is not None and recipe.exempt(part, parameter, module)
            group = groups.pop(id(parameter))
            assert group["weight_decay"] == (0 if exempt else recipe.weight_decay), part
            # SegFormer learns ten times as fast in its head
            tenfold = "segformer_8x" in name and part.startswith("decode_head.")
            assert group["lr"] == pytest.approx(recipe.lr * (10 if tenfold else 1)), part
    assert not groups


def test_those_that_are_trained_in_each_run_have_all_that_configs_name() -> None:
    def parts(path: Path) -> tuple[object, ...]:
        cfg = load(path.stem)
        data, head = cfg.train_dataloader.dataset, cfg.model.get("decode_head", {})
        own_arch = isinstance(cfg.model.backbone.get("arch"), dict)
        return cfg.model.type, head.get("type"), cfg.model.backbone.type, own_arch, data.type

    assert {*map(parts, LEAVES.values())} == {*map(parts, REPRESENTATIVES.values())}
