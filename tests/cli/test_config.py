from __future__ import annotations

import copy
import os

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config
from torch._inductor.utils import run_and_get_code

from mmscalablevit.checks import weights
from mmscalablevit.cli import compilation, config, options
from mmscalablevit.errors import UsageError
from mmscalablevit.models.layers import FFN
from tests.models.families import assert_same, each_family, tiny


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A directory with two configs, as working directory."""
    (tmp_path / "configs" / "deep").mkdir(parents=True)
    (tmp_path / "configs" / "deep" / "retinanet_small.py").write_text("model = dict(type='A')\n")
    (tmp_path / "base.py").write_text("lr = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_mistyped_config_offers_near_names(configs):
    with pytest.raises(UsageError, match=r"did you mean configs/deep/retinanet_small\.py\?"):
        config.load_config("retinanet_smal.py")
    with pytest.raises(UsageError, match=r"does not exist$"):
        config.load_config("something/else.py")


def test_what_is_no_config_of_a_model_is_told(configs):
    with pytest.raises(UsageError, match=r"base\.py has no model"):
        config.load_config("base.py")
    (configs / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="must end in"):
        config.load_config("notes.txt")


def test_options_are_merged_and_unknown_ones_noted(configs, caplog):
    cfg = config.load_config(
        "configs/deep/retinanet_small.py", {"model.depth": 3, "modle.depth": 4}
    )
    assert cfg.model == {"type": "A", "depth": 3} and cfg.modle.depth == 4


def test_options_may_say_what_differs_from_a_named_architecture(configs):
    (configs / "named.py").write_text("model = dict(backbone=dict(arch='small', depth=3))\n")
    cfg = config.load_config(
        "named.py", {"model.backbone.arch.window_size": 14, "model.backbone.depth": 4}
    )
    assert cfg.model.backbone == {"arch": {"base": "small", "window_size": 14}, "depth": 4}
    cfg = config.load_config("named.py", {"model.backbone.arch": "base", "model.neck.arch.x": 1})
    assert cfg.model == {"backbone": {"arch": "base", "depth": 3}, "neck": {"arch": {"x": 1}}}


def test_a_missing_checkpoint_offers_near_names(tmp_path):
    torch.save({}, tmp_path / "epoch_12.pth")
    weights.require_checkpoint(str(tmp_path / "epoch_12.pth"))
    weights.require_checkpoint("https://example.org/x.pth")
    with pytest.raises(UsageError, match=r"did you mean .*epoch_12\.pth"):
        weights.require_checkpoint(str(tmp_path / "epoch_1.pth"))
    with pytest.raises(UsageError, match=r"there are: epoch_12\.pth"):
        weights.require_checkpoint(str(tmp_path / "final.pth"))
    with pytest.raises(UsageError, match="does not exist"):
        weights.require_checkpoint(str(tmp_path / "no" / "final.pth"))


def test_the_work_directory_is_the_options_the_configs_or_the_default():
    cfg = Config({"model": {}})
    config.set_work_dir(cfg, "configs/a_b.py", None)
    assert cfg.work_dir == "work_dirs/a_b"
    config.set_work_dir(cfg, "configs/c.py", None)
    assert cfg.work_dir == "work_dirs/a_b"
    config.set_work_dir(cfg, "configs/c.py", "here")
    assert cfg.work_dir == "here"


def test_learning_rate_scaling_needs_a_base_batch_size():
    cfg = Config({"auto_scale_lr": {"base_batch_size": 16, "enable": False}})
    options.scale_learning_rate(cfg)
    assert cfg.auto_scale_lr.enable is True
    for content in ({}, {"auto_scale_lr": None}, {"auto_scale_lr": {"enable": True}}):
        with pytest.raises(UsageError, match="base_batch_size"):
            options.scale_learning_rate(Config(content))


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_told(tmp_path):
    from mmscalablevit.files import ensure_writable

    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write to"):
        ensure_writable(tmp_path / "x")
