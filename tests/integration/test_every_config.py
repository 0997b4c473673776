"""Every config of the repository trains, validates, saves and is loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from mmscalablevit.checkpoints import load_file
from mmscalablevit.engine.evaluation import NAMES_ARGUMENT, list_evaluators, type_name
from tests.integration import running
from tests.integration.running import CONFIGS

# Where the weights come from a classifier, the norms of the maps that it does not put out.
FRESH_NORMS = ("backbone.norm0.", "backbone.norm1.", "backbone.norm2.")


def quickest(task: str) -> Path:
    """The config of a task that runs in a few seconds: a small model on the digits."""
    paths = [path for path in CONFIGS if path.parts[-3] == task]
    return min(paths, key=lambda path: (path.parent.name != "digits", len(path.stem), path))


QUICK = {quickest(path.parts[-3]) for path in CONFIGS}
CASES = [
    pytest.param(path, id=path.stem, marks=() if path in QUICK else pytest.mark.slow)
    for path in CONFIGS
]


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
            wanted = evaluator[NAMES_ARGUMENT[kind]]
            wanted = [wanted] if isinstance(wanted, str) else wanted
            names |= {f"coco/{name}_mAP" if kind == "CocoMetric" else name for name in wanted}
    return names


def load(path: Path, work_dir: Path) -> Config:
    cfg = running.load_reduced(path, work_dir)
    running.detect_without_threshold(cfg)
    return cfg


def test_every_task_has_a_quick_config() -> None:
    assert {path.parts[-3] for path in QUICK} == {"classification", "detection", "segmentation"}


@pytest.mark.parametrize("path", CASES)
def test_config(path: Path, at_home: Path, tmp_path: Path) -> None:
    cfg = load(path, tmp_path)
    watch = running.WatchTraining(running.pretrained_path(cfg))
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    model = runner.train()

    assert len(watch.losses) == (1 if cfg.train_cfg.get("max_epochs") else 2)
    for losses in watch.losses:
        assert losses["loss"] > 0
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values()), losses
    assert not watch.without_gradient
    parts = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in watch.changed} == parts
    if watch.not_from_file is not None:
        fresh = FRESH_NORMS if model.backbone.classifier_norm else ("backbone.norm",)
        assert all(name.startswith(fresh) for name in watch.not_from_file)
    # In one process there is nothing to synchronize: the Runner takes plain batch norm.
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    assert metric_names(cfg) <= watch.metrics.keys()
    assert all(0 <= watch.metrics[name] <= 100 for name in metric_names(cfg))

    checkpoint = find_latest_checkpoint(cfg.work_dir)
    saved = load_file(checkpoint)["state_dict"]
    assert_same_weights(model, saved)
    del model, runner  # two models with the optimizer's state would need much memory

    cfg = load(path, tmp_path)
    cfg.load_from = checkpoint
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), {"type": "MatchingCheckpointHook"}]
    runner = Runner.from_cfg(cfg)
    assert runner.test() == watch.metrics
    assert_same_weights(runner.model, saved)
    shutil.rmtree(tmp_path)  # up to 2 GB


def assert_same_weights(model: nn.Module, saved: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert state.keys() == saved.keys()
    for name, value in state.items():
        assert torch.equal(value.cpu(), saved[name]), name
