"""Telling the user which file of the data is at fault, while a training or a test runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscalablevit.checks.configs import model_classes
from mmscalablevit.errors import UsageError


class CheckDataHook(Hook):
    """Stop where a sample does not fit the model, with a message that names its file.

    Labels beyond the model's classes end a training on the GPU with an assertion of a kernel, and
    pixels that are no numbers make the weights such.

    Args:
        config: The run's config.
    """

    priority = "VERY_HIGH"

    def __init__(self, config: Mapping[str, Any]) -> None:
        model = config["model"].get("module", config["model"])
        self.classes = min(model_classes(model).values(), default=None)
        self.segments = "decode_head" in model
        head = model.get("decode_head") or {}
        head = head[-1] if isinstance(head, (list, tuple)) else head
        self.ignored = head.get("ignore_index", 255)

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, mode: str = "train"
    ) -> None:
        """Check a batch, which is not on the GPU yet.

        Raises:
            UsageError: A sample does not fit.
        """
        if not isinstance(data_batch, dict):
            return
        inputs, samples = data_batch.get("inputs"), data_batch.get("data_samples")
        if not isinstance(samples, Sequence) or not isinstance(inputs, (Sequence, torch.Tensor)):
            return
        for pixels, sample in zip(inputs, samples, strict=False):
            if not hasattr(sample, "metainfo"):  # several copies of an image, in augmented tests
                continue
            name = f"{sample.get('img_path', 'a sample')}"
            if pixels.is_floating_point() and not torch.isfinite(pixels).all():
                raise UsageError(
                    f"{name}: the image has pixels that are infinite or no numbers (NaN); mend or"
                    " remove it"
                )
            self._check_labels(name, sample)

    def _check_labels(self, name: str, sample: Any) -> None:
        if self.classes is None:
            return
        if self.segments and "gt_sem_seg" in sample:
            labels = sample.gt_sem_seg.data
            labels = labels[labels != self.ignored]
            name = sample.get("seg_map_path", name)
        elif "gt_instances" in sample and "labels" in sample.gt_instances:
            labels = sample.gt_instances.labels
        elif "gt_label" in sample:
            labels = sample.gt_label
        else:
            return
        if len(labels) and int(labels.max()) >= self.classes:
            raise UsageError(
                f"{name}: label {int(labels.max())} lies beyond the model's {self.classes} classes"
                f" (0 to {self.classes - 1}); correct the labels or raise num_classes of the heads"
            )
