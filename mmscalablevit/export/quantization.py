"""int8: products of whole numbers, their scales set by what training images give."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor

from mmscalablevit.evaluation.selection import innermost_datasets
from mmscalablevit.export.formats import KEY, as_text


def training_images(cfg: Config, model: Any, number: int) -> list[Tensor]:
    """Choose images of a config's training data at random, as its test would give them to a graph.

    Args:
        cfg: The config.
        model: Its model, whose ``data_preprocessor`` normalizes them.
        number: How many; of fewer all.

    Returns:
        One batch (1, 3, H, W) each.
    """
    settings = copy.deepcopy(cfg.train_dataloader.dataset)
    pipeline = innermost_datasets(cfg.test_dataloader.dataset)[0].pipeline
    for inner in innermost_datasets(settings):
        inner.pipeline = copy.deepcopy(pipeline)
    dataset = DATASETS.build(settings)
    chosen = np.random.default_rng(0).permutation(len(dataset))[:number]
    samples = (pseudo_collate([dataset[int(index)]]) for index in chosen)
    return [model.data_preprocessor(sample)["inputs"] for sample in samples]


def quantize(path: Path, images: Sequence[Tensor], metadata: Mapping[str, Any]) -> None:
    """Turn a file of OpenVINO's into int8, by NNCF.

    Weights get a scale for each channel, activations one that is fixed by the images. Linear layers
    and convolutions are quantized, but for depth-wise ones; softmax, norms and the products within
    attention stay as they are.

    Args:
        path: The file, which is replaced.
        images: Normalized images, (1, 3, H, W) each.
        metadata: That of the file.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(path)
    dataset = nncf.Dataset(images, lambda image: {"images": image.numpy()})
    # Of depth-wise convolutions NNCF quantizes the input by channels, and where these are the last
    # axis it takes the height for them: the graph would be tied to the size of the images.
    depth_wise = nncf.IgnoredScope(types=["GroupConvolution"], validate=False)
    quantized = nncf.quantize(
        model,
        dataset,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(images),
        ignored_scope=depth_wise,
    )
    quantized.set_rt_info(as_text({**metadata, "int8": True}), [KEY])
    new = path.with_name(f"int8.{path.name}")
    openvino.save_model(quantized, new, compress_to_fp16=False)
    # The file that was read is in use as long as the model is.
    del model, quantized
    os.replace(new, path)
    os.replace(new.with_suffix(".bin"), path.with_suffix(".bin"))
