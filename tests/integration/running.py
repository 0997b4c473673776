"""Configs of the repository made small, and run by MMEngine's Runner."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.cli import amp
from mmscalablevit.evaluation.selection import innermost_datasets
from tests import golden
from tests.leaves import LEAVES

# Released models by the names of the checkpoints that the configs start from.
RELEASED = {
    f"{model}-{arch[0]}_in1k.pth": f"{model}_{arch}"
    for model in ("scalablevit", "stvit")
    for arch in ("small", "base", "large")
} | {"lvt_in1k.pth": "lvt_cls"}

# The shortest side that a config names is brought to between this and twice as much.
SIDE = 64

_SIZE_KEYS = ("scale", "scales", "size", "crop_size")
_runs = itertools.count()


def load_reduced(path: Path, work_dir: Path) -> Config:
    """Read a config and reduce what makes its training long.

    Reduced are the sizes of images and batches, the number of images and of iterations, and the
    depth of an architecture that the file spells out; there are no worker processes. Everything
    else is as the file says.
    """
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work_dir)
    # MMEngine keeps loggers, message hubs and visualizers of a process by their names.
    cfg.experiment_name = f"{path.stem}-{next(_runs)}"
    cfg.visualizer.name = cfg.experiment_name
    cfg.randomness = {"seed": 0}
    reduce_sizes(cfg)
    reduce_positions(cfg)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        reduce_loader(cfg[name])
    reduce_schedule(cfg)
    reduce_depth(cfg)
    amp.fit_to_device(cfg)
    place_pretrained_weights(cfg)
    return cfg


def reduce_sizes(cfg: Config) -> None:
    """Divide the sizes in the pipelines and in the data preprocessor by a common factor."""
    steps = [
        step
        for name in ("train_dataloader", "val_dataloader", "test_dataloader")
        for dataset in innermost_datasets(cfg[name].dataset)
        for step in dataset.pipeline
    ]
    if cfg.model.get("data_preprocessor"):
        steps.append(cfg.model.data_preprocessor)
    sized = [(step, key) for step in steps for key in _SIZE_KEYS if step.get(key) is not None]
    sides = [side for step, key in sized for side in _sides(step[key])]
    factor = max(1, min(sides, default=SIDE) // SIDE)
    seen = set()
    for step, key in sized:
        if (id(step), key) not in seen:  # loaders can share a pipeline
            seen.add((id(step), key))
            step[key] = _divide(step[key], factor)


def reduce_positions(cfg: Config) -> None:
    """Bring images with a label for each position to 3 x 3 of them: mixed tokens need that."""
    if (cfg.get("data_preprocessor") or {}).get("type") == "TokenLabelDataPreprocessor":
        cfg.data_preprocessor.label_size = 3
        for step in cfg.train_dataloader.dataset.pipeline:
            if step.type == "TokenLabelRandomResizedCrop":
                step.scale = 3 * 32


def _sides(size: Any) -> list[int]:
    """The numbers in a side, a pair of sides, or a list of pairs."""
    return [size] if isinstance(size, int) else [side for part in size for side in _sides(part)]


def _divide(size: Any, factor: int) -> Any:
    if isinstance(size, int):
        return size // factor
    return type(size)(_divide(part, factor) for part in size)


def reduce_loader(loader: ConfigDict) -> None:
    """Let a loader give the first two images as one batch, or one by one if the config does so."""
    loader.batch_size = min(2, loader.batch_size)
    loader.num_workers = 0
    loader.persistent_workers = False
    for dataset in innermost_datasets(loader.dataset):
        dataset.indices = [0, 1]


def reduce_schedule(cfg: Config) -> None:
    """Train for one epoch, or for two iterations; validate and save at the end."""
    hooks = cfg.default_hooks
    hooks.logger.interval = 1
    if cfg.train_cfg.get("max_epochs"):
        cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = hooks.checkpoint.interval = 1
    else:
        cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = hooks.checkpoint.interval = 2


def reduce_depth(cfg: Config) -> None:
    """Leave two blocks a stage of an architecture that is not one of the released models.

    So the variants of a model, of which there are many, take little time, and still each of their
    blocks' attentions is there.
    """
    arch = cfg.model.backbone.get("arch")
    if isinstance(arch, dict):
        arch.depths = [min(2, depth) for depth in arch.get("depths", [2] * 4)]


def pretrained_path(cfg: Config) -> Path | None:
    """The checkpoint of a classifier that a config's model or backbone starts from, if it does."""
    init_cfgs = cfg.model.backbone.get("init_cfg") or []
    for init_cfg in init_cfgs if isinstance(init_cfgs, list) else [init_cfgs]:
        if init_cfg.type == "Pretrained":
            return Path(init_cfg.checkpoint)
    return Path(cfg.load_from) if cfg.get("load_from") else None


def place_pretrained_weights(cfg: Config) -> None:
    """Make the checkpoint that a config starts from.

    A released model's is one in the authors' names, converted; a variant's is what the classifier
    of the same arch starts from, in the place where its training would leave a checkpoint.
    """
    path = pretrained_path(cfg)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.parent.name == "work_dirs":
        classifier = Config.fromfile(LEAVES[path.parent.name])
        reduce_depth(classifier)
        backbone = MODELS.build(classifier.model.backbone)
        state_dict = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    else:
        released = golden.released_state_dict(RELEASED[path.name])
        state_dict = convert({"model": released}).state_dict
    torch.save({"state_dict": state_dict}, path)


def detect_without_threshold(cfg: Config) -> None:
    """Let a detector keep some boxes: an untrained one has none whose score is above the usual."""
    test_cfg = cfg.model.get("test_cfg") or {}
    for part in (test_cfg, test_cfg.get("rcnn") or {}):
        if "score_thr" in part:
            part.score_thr, part.max_per_img = 0.0, 20


class WatchTraining(Hook):
    """Note what a training starts from, its losses, and the metrics of its validation."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.losses: list[dict[str, Tensor]] = []
        self.metrics: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        state = runner.model.state_dict()
        self.start = {name: value.clone() for name, value in state.items()}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.losses.append(outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.metrics = dict(metrics or {})
