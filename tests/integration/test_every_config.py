"""Configs train, validate, save and are loaded again: one of each kind, weekly every one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from mmscalablevit.checkpoints import load_file
from mmscalablevit.evaluation.selection import EVALUATORS, list_evaluators, type_name
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from tests.integration import running
from tests.leaves import LEAVES, ROOT

# Where the weights come from a classifier, the norms of the maps that it does not put out.
FRESH_NORMS = ("backbone.norm0.", "backbone.norm1.", "backbone.norm2.")


def kind(path: Path) -> str:
    """What a config's training runs through: its name without size, variant and schedule."""
    name = re.sub(r"-(s|small)-[a-z0-9-]+(?=_)", "-variant", str(path.relative_to(ROOT)))
    return re.sub(r"-(tiny|small|base|large|[sbl])(?=_)|_(ms-)?\dx|_\dxb[^_]*|-overlap", "", name)


# Of each kind the last one in order is trained in each run: a small one. On the digits that takes
# seconds.
# The one for test-dev trains as another does, and has no truth to test with.
TRAINED = {name: path for name, path in LEAVES.items() if "test-dev" not in name}
REPRESENTATIVES = {kind(path): path for path in TRAINED.values()}


def marks(path: Path) -> list[pytest.MarkDecorator]:
    if path not in REPRESENTATIVES.values():
        return [pytest.mark.slow, pytest.mark.exhaustive]
    return [] if path.parent.name == "digits" else [pytest.mark.slow]


CASES = [pytest.param(path, id=name, marks=marks(path)) for name, path in TRAINED.items()]


def metric_names(cfg: Config) -> set[str]:
    """Keys that the config's evaluators report."""
    names = set()
    for evaluator in list_evaluators(cfg):
        kind = type_name(evaluator)
        if kind == "Accuracy":
            names |= {f"accuracy/top{k}" for k in evaluator.topk}
        elif kind == "PanopticQuality":
            names |= {f"coco_panoptic/PQ{part}" for part in ("", "_th", "_st")}
        else:
            wanted = evaluator[EVALUATORS[kind][0]]
            wanted = [wanted] if isinstance(wanted, str) else wanted
            form = {"CocoMetric": "coco/{}_mAP", "VOCMetric": "pascal_voc/{}"}.get(kind, "{}")
            names |= {form.format(name) for name in wanted}
    return names


def load(path: Path, work_dir: Path) -> Config:
    cfg = running.load_reduced(path, work_dir)
    running.detect_without_threshold(cfg)
    return cfg


@pytest.mark.parametrize("path", CASES)
def test_config(path: Path, at_home: Path, tmp_path: Path) -> None:
    cfg = load(path, tmp_path)
    watch = running.WatchTraining()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    model = runner.train()

    assert len(watch.losses) == (1 if cfg.train_cfg.get("max_epochs") else 2)
    for losses in watch.losses:
        assert losses["loss"] > 0
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values()), losses
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    reached = runner.optim_wrapper.optimizer.state
    assert all(parameter in reached for parameter in trained.values())
    changed = {name for name, value in trained.items() if not value.equal(watch.start[name])}
    assert {name.split(".")[0] for name in changed} == {name.split(".")[0] for name in trained}
    if pretrained := running.pretrained_path(cfg):
        file = load_file(str(pretrained))["state_dict"]
        fresh = FRESH_NORMS if model.backbone.classifier_norm else ("backbone.norm",)
        for name, value in watch.start.items():
            if name.startswith("backbone.") and not name.startswith(fresh):
                assert value.equal(file[name]), name
    # In one process there is nothing to synchronize: the Runner takes plain batch norm.
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    assert metric_names(cfg) <= watch.metrics.keys()
    assert all(0 <= watch.metrics[name] <= 100 for name in metric_names(cfg))

    checkpoint = find_latest_checkpoint(cfg.work_dir)
    saved = load_file(checkpoint)["state_dict"]
    assert_same_weights(model, saved)
    watch.start.clear()
    del model, runner, trained, reached  # two models and the optimizer would need much memory

    cfg = load(path, tmp_path)
    cfg.load_from = checkpoint
    runner = Runner.from_cfg(cfg)
    runner.register_hook(MatchingCheckpointHook())
    assert runner.test() == watch.metrics
    assert_same_weights(runner.model, saved)
    shutil.rmtree(tmp_path)  # up to 2 GB


def assert_same_weights(model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert state.keys() == saved.keys()
    for name, value in state.items():
        assert torch.equal(value, saved[name]), name
