"""The steps that a benchmark repeats: a model, a synthetic batch, and what is done with it."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import Sequential
from mmengine.runner import Runner
from mmengine.structures import PixelData
from numpy.random import RandomState
from PIL import Image
from torch import Tensor

from mmscalablevit.benchmark import naive
from mmscalablevit.benchmark.workloads import Workload, read_config
from mmscalablevit.cli import amp
from mmscalablevit.cli.building import build_model
from mmscalablevit.cli.compilation import compile_backbone
from mmscalablevit.errors import UsageError
from mmscalablevit.export import files
from mmscalablevit.models.complexity import count_complexity

BOXES = 8  # in each image that a detector trains on
DISTINCT_JPEGS = 64


def build(workload: Workload, cfg: Config) -> Any:
    """Build a workload's model, or its backbone, with random weights: speed is that of any.

    The config is changed in place.

    Raises:
        UsageError: The workload needs a backbone, and the model has none.
    """
    backbone = cfg.model.get("backbone")
    if backbone is not None:
        backbone["init_cfg"] = None
        if workload.naive:
            kept = ("arch", "drop_path_rate", "out_indices")
            settings = {key: backbone[key] for key in kept if key in backbone}
            backbone = cfg.model.backbone = {"type": naive.NaiveScalableViT, **settings}
        if workload.checkpointed:
            backbone["with_cp"] = True
    elif workload.backbone_only or workload.compiled or workload.checkpointed:
        raise UsageError(f"{workload.text}: the model has no backbone")
    if workload.backbone_only:
        alone = Config({"model": backbone, "default_scope": cfg.get("default_scope", "mmengine")})
        return Sequential(OrderedDict(backbone=build_model(alone)))
    return build_model(cfg, pretrained=False)


def make_samples(workload: Workload, cfg: Config, random: RandomState) -> list[Any]:
    """Random labels, boxes with masks or label maps, as the model's framework packs them.

    Raises:
        UsageError: The framework is none of the three.
    """
    batch, size, scope = workload.batch, workload.size, cfg.get("default_scope")
    samples: list[Any]
    if scope == "mmpretrain":
        from mmpretrain.structures import DataSample

        labels = random.randint(cfg.model.head.num_classes, size=batch)
        samples = [DataSample().set_gt_label(label) for label in labels.tolist()]
    elif scope == "mmdet":
        from mmdet.testing import demo_mm_inputs

        boxes = [BOXES] * batch
        # every data set has two classes
        inputs = demo_mm_inputs(batch, (3, *size), num_items=boxes, num_classes=2, with_mask=True)
        samples = list(inputs["data_samples"])
    elif scope == "mmseg":
        from mmseg.structures import SegDataSample

        maps = torch.from_numpy(random.randint(2, size=(batch, 1, *size)))
        samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for labels in maps]
    else:
        raise UsageError(
            f"{workload.text}: default_scope {scope!r} is none of mmpretrain, mmdet, mmseg"
        )
    shapes = ("img_shape", "ori_shape", "pad_shape", "batch_input_shape")
    for sample in samples:
        sample.set_metainfo({**dict.fromkeys(shapes, size), "scale_factor": (1.0, 1.0)})
    return samples


class ModelWork:
    """A model, its batch and, for training, its optimizer."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        cfg = read_config(workload)
        self.scope, self.workload, self.device = cfg.get("default_scope"), workload, device
        model = build(workload, cfg)
        # of the forward pass of a batch
        self.macs = workload.batch * count_complexity(model, workload.size).total_macs
        if files.choose_format(workload.model) is not None:
            files.put_in_place(model, files.read(Path(workload.model)))
        self.dtype = getattr(torch, workload.dtype)
        random = RandomState(0)
        images = random.standard_normal((workload.batch, 3, *workload.size)).astype(np.float32)
        self.images = torch.from_numpy(images).to(device)
        self.samples: list[Any] = []
        self.model = model.train(workload.training).to(device)
        self.optimizer: torch.optim.Optimizer | None = None
        if not workload.backbone_only:
            self.samples = [sample.to(device) for sample in make_samples(workload, cfg, random)]
            if self.scope == "mmdet" and self.dtype != torch.float32:
                amp.keep_boxes_in_float32(model)
            if workload.training:
                self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        if workload.compiled:
            compile_backbone(model, inference=not workload.training)
        # small gradients vanish in float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def step(self) -> None:
        """Run one step of training or inference on the whole batch."""
        if self.workload.training:
            self.train(self.images, self.samples)
            return
        with torch.no_grad(), self._autocast():
            if self.workload.backbone_only:
                self.model(self.images)
            elif self.scope == "mmpretrain":
                self.model(self.images, mode="tensor")
            else:
                self.model(self.images, self.samples, mode="predict")

    def _autocast(self) -> torch.autocast:
        enabled = self.dtype != torch.float32
        dtype = self.dtype if enabled else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)

    def train(self, inputs: Tensor, data_samples: list[Any]) -> None:
        """Forward, loss, backward and, but for a backbone alone, the optimizer's step."""
        self.model.zero_grad(set_to_none=True)
        with self._autocast():
            if self.workload.backbone_only:
                outputs = self.model(inputs)
                loss = sum(x.float().square().mean() for x in outputs)
            else:
                losses = self.model(inputs, data_samples, mode="loss")
                loss, _ = self.model.parse_losses(losses)
        self.scaler.scale(loss).backward()
        if self.optimizer is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def held_bytes(self) -> int:
        """Memory that stays between two steps: weights, gradients, the optimizer's state."""
        tensors: list[Any] = [*self.model.parameters(), *self.model.buffers()]
        tensors += [parameter.grad for parameter in self.model.parameters()]
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            tensors += state.values()
        return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))


class EpochWork(ModelWork):
    """A training epoch from JPEG files, with the config's augmentation, loader and mixing.

    The files are read from the system's memory, where those that were just written are.
    """

    def __init__(self, workload: Workload, device: torch.device) -> None:
        super().__init__(workload, device)
        cfg = read_config(workload)
        cv2.setNumThreads(0)  # the reading processes share the cores
        self.folder = tempfile.TemporaryDirectory()
        write_jpegs(Path(self.folder.name, "one class"), DISTINCT_JPEGS)
        settings = cfg.train_dataloader
        settings.batch_size = workload.batch
        settings.num_workers = workload.workers or settings.num_workers or 1
        settings.persistent_workers = True
        settings.multiprocessing_context = "fork"  # as in a training; the default here is spawn
        root, pipeline = self.folder.name, settings.dataset.pipeline
        dataset = {"type": "CustomDataset", "data_root": root, "pipeline": pipeline}
        times = -(-workload.jpegs // DISTINCT_JPEGS)
        settings.dataset = {"type": "RepeatDataset", "dataset": dataset, "times": times}
        self.loader = Runner.build_dataloader(settings, seed=0)
        images = len(self.loader.sampler)  # RepeatAugSampler ends an epoch at a multiple of 256
        if images != workload.jpegs:
            raise UsageError(
                f"{workload.text}: an epoch has {images} images; say a multiple of 256"
            )

    def step(self) -> None:
        """Train for an epoch."""
        for data in self.loader:
            self.train(**self.model.data_preprocessor(data, training=True))


def write_jpegs(folder: Path, count: int) -> None:
    """Write pictures of ImageNet's usual size and, by their spectrum, of a photograph's detail."""
    folder.mkdir()
    height, width = 375, 500
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # the mean is 0
    random = RandomState(0)
    for i in range(count):
        noise = random.standard_normal((height, width, 4))
        pattern = np.fft.irfft2(
            np.fft.rfft2(noise, axes=(0, 1)) / frequency[..., None], axes=(0, 1)
        )
        pattern = pattern[..., 3:] + 0.2 * pattern[..., :3]  # mostly grey
        image = (128 + 50 * pattern / pattern.std()).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.jpg", quality=90)


class MatmulWork:
    """A product of two square matrices: what the machine reaches where nothing is in the way."""

    def __init__(self, dtype: str, device: torch.device) -> None:
        side = 2048 if device.type == "cpu" else 8192
        if (device.type, dtype) == ("cpu", "float16"):
            side = 512  # few processors multiply it: 64 times the work would take many seconds
        self.macs = side**3
        self.matrices = torch.randn(2, side, side, device=device).to(getattr(torch, dtype))

    def step(self) -> None:
        """Multiply them."""
        torch.mm(*self.matrices)

    def held_bytes(self) -> int:
        """Memory of the matrices."""
        return self.matrices.nbytes


def build_work(workload: Workload | str, device: torch.device) -> ModelWork | MatmulWork:
    """What a workload repeats; a data type's name stands for a product of matrices."""
    if isinstance(workload, str):
        return MatmulWork(workload, device)
    return (EpochWork if workload.jpegs else ModelWork)(workload, device)
