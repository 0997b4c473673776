"""The part of the preflight that trains: learning rate, one step, time, memory and disk."""

from __future__ import annotations

import math
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.utils import apply_to
from torch.utils.data import DataLoader

from mmscalablevit.checks.failures import DATA_ERRORS, explain
from mmscalablevit.errors import Finding, first_line
from mmscalablevit.evaluation.selection import type_name

# After the first step, which warms up, steps are timed until this many seconds have passed.
PATIENCE = 10.0
MOST_STEPS = 5

# What a loss that is no number asks for.
NOT_FINITE = "lower the learning rate, look at the images and labels, train without --amp"


@dataclass(frozen=True)
class Cost:
    """What a step costs here.

    Attributes:
        seconds: Median time of a step, without the reading of the data.
        reading: Median time of reading a batch in one process.
        workers: Processes that will read alongside.
    """

    seconds: float
    reading: float
    workers: int

    @property
    def pace(self) -> float:
        """Seconds from one step to the next, reading by workers alongside."""
        if self.workers == 0:
            return self.seconds + self.reading
        return max(self.seconds, self.reading / self.workers)

    def describe(self, loader: DataLoader) -> str:
        """Say what a step costs."""
        where = torch.cuda.get_device_name() if get_device() == "cuda" else "CPU"
        text = f"{duration(self.seconds)} an iteration of {loader.batch_size or 1} on {where}"
        # What several workers read between two steps must be there when the next one begins.
        reading = self.reading / max(1, self.workers)
        if reading > self.seconds:
            text += f"; reading takes {duration(reading)} with {self.workers} workers"
        return text


def duration(seconds: float) -> str:
    """A time in two units that suit its size."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def volume(count: float) -> str:
    """A number of bytes in a unit that suits its size."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def learning_rate_finding(cfg: Config, gpus: int) -> Finding:
    """Compare the batch of a step with the one that the learning rate is for."""
    name, wrapper = "learning rate", cfg.get("optim_wrapper") or {}
    rate = (wrapper.get("optimizer") or {}).get("lr")
    batch = gpus * cfg.train_dataloader.get("batch_size", 1)
    scaling = cfg.get("auto_scale_lr") or {}
    base = scaling.get("base_batch_size")
    accumulated = wrapper.get("accumulative_counts", 1)
    processes = f"{gpus} GPU{'s' if gpus > 1 else ''} x {batch // gpus} = {batch} images a step"
    if accumulated > 1:
        processes += f", {accumulated} steps accumulated"
    if rate is None or not base:
        lacking = "the optimizer's lr" if rate is None else "auto_scale_lr.base_batch_size"
        found = f"{processes}; {lacking} is not set, so that nothing can be compared"
        remedy = "note the batch size that the rate is for: auto_scale_lr=dict(base_batch_size=...)"
        return Finding(name, "warn", found, remedy)
    ratio = batch * accumulated / base
    if math.isclose(ratio, 1):
        return Finding(name, "ok", f"{rate:g} for {base} images a step; {processes}")
    if scaling.get("enable") and accumulated == 1:
        return Finding(name, "ok", f"{rate:g} becomes {rate * ratio:g}; {processes}")
    found = f"{rate:g} is for {base} images a step; {processes}"
    remedy = (
        f"train with --auto-scale-lr, which makes it {rate * batch / base:g}, or with"
        f" {base / batch:g} times as many GPUs or images"
    )
    return Finding(name, "warn", found, remedy)


def iterations(cfg: Config, loader: DataLoader, gpus: int) -> int:
    """Training iterations of the whole run."""
    if cfg.train_cfg.get("max_iters"):
        return cfg.train_cfg.max_iters
    return cfg.train_cfg.get("max_epochs", 0) * math.ceil(len(loader) / gpus)


def validations(cfg: Config) -> int:
    """Validations of the whole run."""
    if cfg.get("val_cfg") is None or cfg.get("val_dataloader") is None:
        return 0
    total = cfg.train_cfg.get("max_iters") or cfg.train_cfg.get("max_epochs", 0)
    first = cfg.train_cfg.get("val_begin", 1)
    return max(0, total - first + 1) // max(1, cfg.train_cfg.get("val_interval", 1))


def measure(loader: DataLoader, workers: int, step: Callable[[Any], Any]) -> tuple[Cost, Any]:
    """Take a few steps, and time them after the first one.

    Returns:
        The cost, and what the last step returned.
    """
    taken: list[float] = []
    reading: list[float] = []
    began = start = time.perf_counter()
    for batch in loader:
        reading.append(time.perf_counter() - start)
        start = time.perf_counter()
        result = step(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        if len(taken) == MOST_STEPS or time.perf_counter() - began > PATIENCE:
            break
        start = time.perf_counter()
    steady = taken[1:] or taken
    return Cost(statistics.median(steady), statistics.median(reading), workers), result


def training_step(
    cfg: Config, model: BaseModel, loader: DataLoader
) -> tuple[Cost, dict[str, float], int]:
    """Take training steps as the Runner does.

    Returns:
        The cost, the last step's losses, and the bytes of the optimizer's state.
    """
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper.copy())
    wrapper.initialize_count_status(model, 0, MOST_STEPS)
    model.train()
    workers = cfg.train_dataloader.get("num_workers", 0)
    cost, losses = measure(
        loader, workers, lambda batch: model.train_step(batch, optim_wrapper=wrapper)
    )
    sizes: list[int] = []
    apply_to(wrapper.state_dict(), torch.is_tensor, lambda tensor: sizes.append(tensor.nbytes))
    return cost, {name: float(value) for name, value in losses.items()}, sum(sizes)


def validation_step(cfg: Config, model: BaseModel, loader: DataLoader) -> Cost:
    """Take validation steps as the Runner does."""
    model.eval()
    with torch.no_grad():
        return measure(loader, cfg.val_dataloader.get("num_workers", 0), model.val_step)[0]


def step_failure(name: str, error: BaseException, cfg: Config | None = None) -> Finding:
    """Say what a step that failed asks for."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text:
        remedy = (
            "lower train_dataloader.batch_size, set model.backbone.with_cp=True, or train with"
            " --amp"
        )
        return Finding(name, "fail", "the device's memory is not enough for a step", remedy)
    if isinstance(error, IndexError) and "out of bounds" in text:
        remedy = "a label lies beyond num_classes: look at the lines on classes and labels"
        return Finding(name, "fail", first_line(error), remedy)
    if known := explain(error, "CONFIG", cfg):
        found, _, remedy = known.partition("\n  ")
        return Finding(name, "fail", found, remedy or "look at the lines on the images")
    remedy = "mend what it names; `python tools/train.py CONFIG` shows the whole traceback"
    return Finding(name, "fail", first_line(error), remedy)


def step_findings(
    cfg: Config, model: BaseModel, loaders: Mapping[str, DataLoader], gpus: int
) -> Iterator[Finding]:
    """Train and validate for a step or a few, and extrapolate.

    Args:
        cfg: The whole config.
        model: The model, on its device.
        loaders: Built data loaders, by split.
        gpus: Number of processes of the training to come.
    """
    seconds, count, complete, optimizer_bytes = 0.0, 0, True, None
    if "train" in loaders and cfg.get("optim_wrapper") is not None:
        try:
            cost, losses, optimizer_bytes = training_step(cfg, model, loaders["train"])
            finding = training_finding(cost, losses, loaders["train"])
            count = iterations(cfg, loaders["train"], gpus)
            seconds += count * cost.pace
        except DATA_ERRORS as error:
            finding = step_failure("train step", error, cfg)
        complete = finding.status == "ok"
        yield finding
    if "val" in loaders:
        try:
            cost = validation_step(cfg, model, loaders["val"])
            yield Finding("val step", "ok", cost.describe(loaders["val"]))
            seconds += validations(cfg) * math.ceil(len(loaders["val"]) / gpus) * cost.pace
        except DATA_ERRORS as error:
            complete = False
            yield step_failure("val step", error, cfg)
    if complete and seconds:
        found = f"about {duration(seconds)}: {count} iterations, {validations(cfg)} validations"
        found += f", {gpus} at a time, if each is as fast as this one" if gpus > 1 else ""
        yield Finding("total time", "ok", found)
    yield memory_finding()
    yield disk_finding(cfg, model, optimizer_bytes)


def training_finding(cost: Cost, losses: Mapping[str, float], loader: DataLoader) -> Finding:
    """Say what training steps cost, and whether their losses are numbers."""
    if wrong := [f"{key} is {value}" for key, value in losses.items() if not math.isfinite(value)]:
        return Finding("train step", "fail", ", ".join(wrong), NOT_FINITE)
    loss = f"; loss {losses['loss']:.4g}" if "loss" in losses else ""
    return Finding("train step", "ok", cost.describe(loader) + loss)


def memory_finding() -> Finding:
    """Peak memory so far: the GPU's, or without one this process's."""
    if get_device() == "cuda":
        peak, total = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
        found = f"{volume(peak)} of the GPU's {volume(total)}"
        return Finding("peak memory", "ok", found)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Finding("peak memory", "ok", f"{volume(peak)}, the whole process")


def checkpoint_bytes(cfg: Config, model: BaseModel, optimizer_bytes: int | None) -> int:
    """Size of a checkpoint: weights, the optimizer's state, and averaged weights."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if optimizer_bytes is None:  # no step was taken: two moments, as Adam keeps
        trained = (p for p in model.parameters() if p.requires_grad)
        optimizer_bytes = sum(2 * p.numel() * p.element_size() for p in trained)
    hooks = [type_name(hook) for hook in cfg.get("custom_hooks") or []]
    averaged = weights if any("EMAHook" in hook for hook in hooks) else 0
    return weights + optimizer_bytes + averaged


def checkpoint_count(cfg: Config) -> int:
    """Most checkpoints that lie on the disk at a time, the one that is being written included."""
    hook = (cfg.get("default_hooks") or {}).get("checkpoint") or {}
    total = cfg.train_cfg.get("max_iters") or cfg.train_cfg.get("max_epochs", 0)
    interval = hook.get("interval", -1)
    periodic = math.ceil(total / interval) if interval > 0 else 1
    kept = hook.get("max_keep_ckpts", -1)
    if kept > 0:
        periodic = min(periodic, kept + 1)
    best = hook.get("save_best") or []
    return periodic + (1 if isinstance(best, str) else len(best))


def disk_finding(cfg: Config, model: BaseModel, optimizer_bytes: int | None) -> Finding:
    """Compare what the run will write with what is free where it will write."""
    work_dir = Path(cfg.work_dir).absolute()
    place = next(path for path in (work_dir, *work_dir.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        found = f"{place} cannot be written to"
        return Finding("disk", "fail", found, "choose another directory: --work-dir DIR")
    size, count = checkpoint_bytes(cfg, model, optimizer_bytes), checkpoint_count(cfg)
    free = shutil.disk_usage(place).free
    found = f"{count} checkpoint{'s' if count > 1 else ''} of {volume(size)}; {volume(free)} free"
    if size * count > free:
        remedy = (
            "free some, choose another --work-dir, or keep fewer: --cfg-options"
            " default_hooks.checkpoint.max_keep_ckpts=1"
        )
        return Finding("disk", "fail", f"{found} in {place}", remedy)
    return Finding("disk", "ok", f"{found} in {place}")
