"""A training of a model of six weights, which takes milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch.utils.data import Dataset

from mmscalablevit.runner.runner import ResumableRunner


class Numbers(Dataset):
    """Remembers which samples were asked for."""

    METAINFO = metainfo = {  # noqa: RUF012 kinds that data sets keep
        "classes": ("a", "b"),
        "weights": np.array([1.0, 5.0], dtype=np.float32),
        "ids": np.arange(2),
        "names": np.array(["a", "b"]),
    }

    def __init__(self, length: int = 22) -> None:
        self.length = length
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.loaded.append(index)
        return {"inputs": torch.tensor([index / self.length, 1.0])}


class _Score(BaseMetric):
    """A metric that rises from validation to validation."""

    rounds = 0

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(1)

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.rounds += 1
        return {"accuracy": float(self.rounds)}


class Toy(BaseModel):
    """Its loss depends on the order of the samples and on torch's random numbers.

    Attributes:
        seen: The samples that it was trained on.
        poison: Iterations whose loss is multiplied by this value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.seen: list[list[int]] = []
        self.poison: dict[int, float] = {}

    def forward(self, inputs: list[torch.Tensor], mode: str = "tensor") -> Any:
        if mode == "predict":
            return [torch.rand(1)]  # a validation that draws random numbers
        values = torch.stack(inputs)
        self.seen.append([round(value * 22) for value in values[:, 0].tolist()])
        noise = torch.rand(()) + 0.5
        loss = self.layer(values).square().mean() * noise * self.poison.get(len(self.seen), 1.0)
        return {"loss": loss}


def build_run(
    work_dir: Path,
    by_epoch: bool = True,
    length: int = 6,
    resume: Path | None = None,
    sampler: str | None = None,
    workers: int = 0,
    batch_size: int = 6,
    hooks: list[Any] | None = None,
    optim: dict[str, Any] | None = None,
    schedulers: list[dict[str, Any]] | None = None,
    validate: bool = False,
    **checkpoint: Any,
) -> ResumableRunner:
    """A run of epochs of four batches, or of iterations."""
    unit = "epochs" if by_epoch else "iters"
    sampler = sampler or ("DefaultSampler" if by_epoch else "InfiniteSampler")
    loader = {
        "dataset": Numbers(), "batch_size": batch_size, "num_workers": workers,
        "sampler": {"type": sampler, "shuffle": True},
    }  # fmt: skip
    validation: dict[str, Any] = {}
    if validate:
        validation = {
            "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
            "val_cfg": {},
            "val_evaluator": {"type": _Score},
        }
    torch.manual_seed(0)  # the model is made before the Runner seeds
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    return ResumableRunner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={"by_epoch": by_epoch, f"max_{unit}": length, "val_interval": 2},
        optim_wrapper={"optimizer": optimizer, **(optim or {})},
        param_scheduler=schedulers,
        default_hooks={
            "checkpoint": {
                "type": "CheckpointHook", "by_epoch": by_epoch, "interval": 1, **checkpoint,
            },
            "logger": None, "timer": None,
        },
        custom_hooks=hooks,
        randomness={"seed": 3},
        log_level="ERROR",
        experiment_name=f"toy_{work_dir.name}_{id(loader)}",
        default_scope="mmengine",
        resume=resume is not None,
        load_from=str(resume) if resume else None,
        cfg={"resume": resume is not None, "load_from": str(resume) if resume else None},
        **validation,
    )  # fmt: skip
