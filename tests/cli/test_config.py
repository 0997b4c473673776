from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config
from torch._inductor.utils import run_and_get_code

from mmscalablevit.checks.options import option_findings
from mmscalablevit.cli import compilation, config, options
from mmscalablevit.errors import UsageError
from mmscalablevit.models.layers import FFN
from tests.models.families import assert_same, each_family, tiny


def test_options_may_say_what_differs_from_a_named_architecture(tmp_path):
    path = tmp_path / "named.py"
    path.write_text("model = dict(backbone=dict(arch='small', depth=3))\n")
    changes = {"model.backbone.arch.window_size": 14, "model.backbone.depth": 4}
    cfg = config.load_config(str(path), changes)
    assert cfg.model.backbone == {"arch": {"base": "small", "window_size": 14}, "depth": 4}
    changes = {"model.backbone.arch": "base", "model.neck.arch.x": 1}
    cfg = config.load_config(str(path), changes)
    assert cfg.model == {"backbone": {"arch": "base", "depth": 3}, "neck": {"arch": {"x": 1}}}


def test_the_option_data_root_moves_all_that_lies_below_it(tmp_path):
    path = tmp_path / "cells.py"
    path.write_text(
        "data_root = 'data/cells/'\n"
        "model = dict(type='A', name='data/cellsize')\n"
        "train_dataloader = dict(dataset=dict(data_root=data_root, ann_file='x.json'))\n"
        "val_dataloader = dict(dataset=dict(datasets=[dict(data_root=data_root, n=1)]))\n"
        "val_evaluator = [dict(ann_file=data_root + 'x.json')]\n"
        "load_from = data_root + 'weights.pth'\n"
    )
    cfg = config.load_config(str(path), {"data_root": "/disk", "model.type": "B"})
    assert cfg.load_from == "data/cells/weights.pth"
    assert cfg.data_root == "/disk" and cfg.model == {"type": "B", "name": "data/cellsize"}
    assert cfg.train_dataloader.dataset == {"data_root": "/disk/", "ann_file": "x.json"}
    assert cfg.val_dataloader.dataset.datasets[0] == {"data_root": "/disk/", "n": 1}
    assert cfg.val_evaluator[0].ann_file == "/disk/x.json"
    part = "train_dataloader.dataset.data_root"
    cfg = config.load_config(str(path), {"data_root": "/disk", part: "/other"})
    assert cfg.train_dataloader.dataset.data_root == "/other"
    assert not list(option_findings(cfg, {"data_root": "/disk"}))
    path.write_text("model = dict(type='A')\n")
    cfg = config.load_config(str(path))
    (finding,) = option_findings(cfg, {"data_root": "/disk"})
    assert "no such entry" in finding.found
    assert config.load_config(str(path), {"data_root": "/disk"}).data_root == "/disk"


def test_the_work_directory_is_the_options_the_configs_or_the_default():
    cfg = Config({"model": {}})
    config.set_work_dir(cfg, "configs/a_b.py", None)
    assert cfg.work_dir == "work_dirs/a_b"
    config.set_work_dir(cfg, "configs/c.py", None)
    assert cfg.work_dir == "work_dirs/a_b"
    config.set_work_dir(cfg, "configs/c.py", "here")
    assert cfg.work_dir == "here"


def test_weights_are_averaged_once():
    cfg = Config({"custom_hooks": [{"type": "Other"}]})
    options.average_weights(cfg)
    options.average_weights(cfg)
    assert [hook.type for hook in cfg.custom_hooks] == ["Other", "mmengine.EMAHook"]


@pytest.mark.usefixtures("compiler")
def test_only_the_backbone_is_compiled_in_place():
    model = nn.Module()
    model.backbone, model.head = nn.Linear(2, 2), nn.Linear(2, 2)
    names = list(model.state_dict())
    compilation.compile_backbone(model)
    assert model.backbone._compiled_call_impl is not None
    assert model.head._compiled_call_impl is None
    assert list(model.state_dict()) == names
    assert not inductor_config.freezing
    with pytest.raises(UsageError, match="has none"):
        compilation.compile_backbone(nn.Linear(1, 1))


@pytest.mark.usefixtures("compiler")
def test_what_is_compiled_for_inference_takes_any_batch():
    model = nn.Module()
    model.backbone = FFN(16, 2)
    names = list(model.state_dict())
    random = torch.Generator().manual_seed(0)
    batches = [torch.randn(count, 16, generator=random) for count in (3, 5, 8, 1)]
    with torch.no_grad():
        expected = [model.backbone(images) for images in batches]
        compilation.compile_backbone(model, inference=True)
        assert inductor_config.freezing and list(model.state_dict()) == names
        counters["stats"].clear()
        found, code = run_and_get_code(lambda: [model.backbone(images) for images in batches[:3]])
        assert counters["stats"]["unique_graphs"] == 1
        found.append(model.backbone(batches[3]))
        other = copy.deepcopy(model)
        nn.init.zeros_(other.backbone.fc2.weight)
        assert torch.equal(other.backbone(batches[0]), other.backbone.fc2.bias.expand(3, 16))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    if torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available():
        # what makes it worth its while: oneDNN's linear layer with GELU in it
        assert "mkldnn._linear_pointwise" in code[0] and "'gelu'" in code[0]


@pytest.mark.slow
@each_family
@pytest.mark.usefixtures("compiler")
def test_every_backbone_compiled_for_inference_takes_any_batch(family):
    model = nn.Module()
    model.backbone = tiny(family)
    with torch.no_grad():
        batches = [torch.randn(count, 3, 61, 77) for count in (2, 5)]
        expected = [model.backbone(images) for images in batches]
        compilation.compile_backbone(model, inference=True)
        counters["stats"].clear()
        for images, maps in zip(batches, expected, strict=True):
            assert_same(model.backbone(images), maps, 1e-5)
    assert counters["stats"]["unique_graphs"] == 1
