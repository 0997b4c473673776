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
from mmscalablevit.evaluation.selection import EVALUATORS, list_evaluators, type_name
from tests.integration import running
from tests.integration.running import CONFIGS

# Where the weights come from a classifier, the norms of the maps that it does not put out.
FRESH_NORMS = ("backbone.norm0.", "backbone.norm1.", "backbone.norm2.")


# A representative of each kind that a few seconds are enough for: small models on the digits.
REPRESENTATIVES = (
    "scalablevit-tiny_1xb64_digits",
    "mask-rcnn_scalablevit-tiny_fpn_1xb4_digits",
    "retinanet_scalablevit-tiny_fpn_1xb4_digits",
    "scalablevit-tiny_fpn_1xb8_digits-128x128",
    "scalablevit-tiny_upernet_1xb8_digits-128x128",
    "stvit-tiny_1xb64_digits",
    "panoptic-fpn_lvt-tiny_fpn_1xb4_digits",
    "lvt-tiny_segformer_1xb8_digits-128x128",
)
QUICK = {path for path in CONFIGS if path.stem in REPRESENTATIVES}
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
            wanted = evaluator[EVALUATORS[kind][0]]
            wanted = [wanted] if isinstance(wanted, str) else wanted
            names |= {f"coco/{name}_mAP" if kind == "CocoMetric" else name for name in wanted}
    return names


def load(path: Path, work_dir: Path) -> Config:
    cfg = running.load_reduced(path, work_dir)
    running.detect_without_threshold(cfg)
    return cfg


def kind(path: Path) -> tuple[str, str]:
    """What a config's model is: the type of the whole, and of its head for dense labels."""
    model = Config.fromfile(path).model
    return model.type, model.get("decode_head", {}).get("type", "")


def test_every_framework_has_a_quick_config() -> None:
    assert len(QUICK) == len(REPRESENTATIVES)
    # what Cascade R-CNN adds to Mask R-CNN is MMDetection's
    missing = {kind(path) for path in CONFIGS} - {kind(path) for path in QUICK}
    assert missing == {("CascadeRCNN", "")}


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
