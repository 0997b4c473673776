"""The released models' outputs, on weights and images that a seed determines.

``data/released/NAME.json`` lists the released state dict's keys and shapes; ``data/golden``
holds what the released models put out in evaluation mode.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"


def released_state_dict(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights drawn for each key of the released model ``name``, as for the golden files."""
    state_dict = {}
    for key, shape in released_shapes(name).items():
        if key.endswith("num_batches_tracked"):
            state_dict[key] = torch.tensor(0)
        elif key.endswith("fold.weights"):  # STViT's constant kernels: one 1 each
            state_dict[key] = torch.eye(shape[0]).reshape(shape)
        else:
            state_dict[key] = torch.from_numpy(draw_weight(key, shape, seed))
    return state_dict


def released_shapes(name: str) -> dict[str, list[int]]:
    """Keys and shapes of the released model ``name``."""
    return dict(json.loads((DATA / "released" / f"{name}.json").read_text()))


def draw_weight(key: str, shape: list[int], seed: int) -> np.ndarray:
    """Draw one entry; its key and the seed determine it."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    value = random.standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        return np.abs(value) * np.float32(0.1) + 1
    if value.ndim <= 1:
        offset = 1 if key.endswith("weight") and "norm" in key else 0
        return value * np.float32(0.02) + np.float32(offset)
    return value / np.sqrt(np.prod(shape[1:])).astype(np.float32)


def golden_names(prefix: str) -> list[str]:
    """Stems of the golden files of a family, such as ``scalablevit_small_224x224``."""
    return sorted(path.stem for path in (DATA / "golden").glob(f"{prefix}_*.npz"))


def released_name(golden: str) -> str:
    """Name of the released model behind a golden file."""
    return golden.rsplit("_", 1)[0].removesuffix("_anysize")


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Read a golden file."""
    with np.load(DATA / "golden" / f"{name}.npz") as file:
        return dict(file)


def golden_image(golden: dict[str, np.ndarray]) -> Tensor:
    """The image that a golden file's outputs belong to."""
    random = np.random.RandomState(int(golden["image_seed"]))
    return torch.from_numpy(random.standard_normal(tuple(golden["image_shape"])).astype(np.float32))


def stage_deviation(
    golden: dict[str, np.ndarray], stage: int, output: Tensor, *, root_mean_square: bool = False
) -> float:
    """Deviation of a stage's map from the golden one, over the map's std.

    The slice, the mean and the std are compared, and the shape is asserted. Of the slice it is the
    largest deviation, or the root of their mean square.
    """
    assert tuple(output.shape) == tuple(golden[f"stage{stage}_shape"])
    _, channels, height, width = output.shape
    steps = (
        slice(None),
        *(slice(None, None, max(n, 1)) for n in (channels // 16, height // 7, width // 7)),
    )
    mean, std = (float(golden[f"stage{stage}_{name}"]) for name in ("mean", "std"))
    output = output.double()
    apart = (output[steps] - torch.from_numpy(golden[f"stage{stage}_slice"])).abs()
    of_slice = apart.square().mean().sqrt() if root_mean_square else apart.max()
    deviations = (of_slice, output.mean() - mean, output.std() - std)
    return max(abs(float(deviation)) for deviation in deviations) / std
