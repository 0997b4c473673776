"""Transforms that keep an image and its label map together, for training with token labels.

A label map has the k largest logits of a teacher at each cell of an S x S grid over the image, and
their classes: (2, k, S, S), rows before columns. ``tools/make_token_labels.py`` writes them. Beside
the map, ``gt_score_map``, goes the part of it that the image shows, ``gt_crop_box``: a crop changes
this alone.

Importing this module needs MMPretrain. A config names it beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.datasets.token_labels"])
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import cv2
import mmcv
import numpy as np
import torch
from mmcv.image.geometric import cv2_interp_codes
from mmcv.transforms import BaseTransform
from mmengine.fileio import get, join_path
from mmpretrain.datasets.transforms import (
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
    Rotate,
    Shear,
    Translate,
)
from mmpretrain.registry import TRANSFORMS
from torch import Tensor

from mmscalablevit.errors import FAILURES

# The part of a label map that an image shows: left, top, right and bottom, as shares of its sides.
Box = tuple[float, float, float, float]


class TokenLabelError(ValueError):
    """A label map cannot be used; the message, one line, names its file; the remedy follows a ;."""


def label_path(image: str, image_root: str | None = None) -> str:
    """Path of an image's label map below the folder of the maps.

    Args:
        image: Path of the image.
        image_root: Folder that the image's path is taken relative to. Without it the last two
            parts of the path are taken, ``CLASS/NAME`` in ImageNet's layout.

    Returns:
        The path, with ``.pt`` in the place of the image's suffix.

    Raises:
        TokenLabelError: The image lies outside ``image_root``.
    """
    path = PurePosixPath(image)
    if image_root is None:
        return str(PurePosixPath(*path.parts[-2:]).with_suffix(".pt"))
    try:
        return str(path.relative_to(image_root).with_suffix(".pt"))
    except ValueError:
        raise TokenLabelError(
            f"token labels: {image} lies outside image_root {image_root}; name the folder of the"
            " training images, as data_root and data_prefix of the data set make it"
        ) from None


def read_label_map(path: str, backend_args: dict | None = None) -> Tensor:
    """Read a label map.

    Args:
        path: Its file.
        backend_args: Where it is, as in MMEngine's file backends.

    Returns:
        Logits and classes, (2, k, S, S) in float32.

    Raises:
        TokenLabelError: It is missing or malformed.
    """
    try:
        content = get(path, backend_args)
    except FileNotFoundError:
        raise TokenLabelError(
            f"token labels: {path} does not exist; write the maps with tools/make_token_labels.py,"
            " or name their folder in LoadTokenLabels.label_root"
        ) from None
    try:
        maps = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (*FAILURES, pickle.UnpicklingError):
        maps = None
    if (fault := find_fault(maps)) is not None:
        raise TokenLabelError(
            f"token labels: {path} {fault}; remove it, and tools/make_token_labels.py writes it"
            " anew"
        )
    return maps.float()


def find_fault(maps: Any) -> str | None:
    """Say what keeps the content of a file from being a label map; None if it is one."""
    if not isinstance(maps, Tensor):
        return "is damaged, or holds no tensor"
    rows, columns = maps.shape[2:] if maps.ndim == 4 else (0, 1)
    if rows != columns or len(maps) != 2 or not maps.numel():
        return f"has the shape {tuple(maps.shape)}, which is not (2, k, S, S)"
    if not maps.is_floating_point():
        return f"is of {maps.dtype}, not of torch.float16"
    if not maps.isfinite().all():
        return "has values that are infinite or no numbers"
    if (maps[1] < 0).any() or (maps[1] != maps[1].round()).any():
        return "has classes that are no whole numbers from 0"
    return None


@TRANSFORMS.register_module()
class LoadTokenLabels(BaseTransform):
    """Load the label map of an image, ``gt_score_map`` (2, k, S, S), and its ``gt_crop_box``.

    Args:
        label_root: Folder of the label maps.
        image_root: Folder of the training images, below which their paths are those of the maps
            below ``label_root``, but for the suffix. Without it the last two parts of an image's
            path are taken, which is right for ImageNet's layout.
        map_region: ``'whole'`` for maps that cover the whole image; ``'center'`` for maps of its
            central square, as the released generator makes them, and ``--center-crop``. The
            released training takes such maps for whole ones.
        backend_args: Where the maps are, as in MMEngine's file backends.

    Raises:
        ValueError: ``map_region`` is neither.
    """

    def __init__(
        self,
        label_root: str,
        image_root: str | None = None,
        map_region: Literal["whole", "center"] = "whole",
        backend_args: dict | None = None,
    ) -> None:
        if map_region not in ("whole", "center"):
            raise ValueError(f"map_region is 'whole' or 'center', not {map_region!r}")
        self.label_root = label_root
        self.image_root = image_root
        self.map_region = map_region
        self.backend_args = backend_args

    def find(self, image: str) -> str:
        """Path of an image's label map.

        Raises:
            TokenLabelError: The image lies outside ``image_root``.
        """
        name = label_path(image, self.image_root)
        return join_path(self.label_root, name, backend_args=self.backend_args)

    def read(self, image: str) -> Tensor:
        """Read an image's label map, (2, k, S, S).

        Raises:
            TokenLabelError: It is missing or malformed.
        """
        return read_label_map(self.find(image), self.backend_args)

    def transform(self, results: dict) -> dict:
        """Add the label map, and the part of it that the image shows.

        Raises:
            TokenLabelError: It is missing or malformed.
        """
        results["gt_score_map"] = self.read(results["img_path"])
        x = y = 0.0
        if self.map_region == "center":
            height, width = results["img"].shape[:2]
            x, y = ((length / min(height, width) - 1) / 2 for length in (width, height))
        results["gt_crop_box"] = (-x, -y, 1 + x, 1 + y)
        return results


@TRANSFORMS.register_module()
class TokenLabelRandomFlip(RandomFlip):
    """MMCV's ``RandomFlip``, which flips the label map as well."""

    def transform(self, results: dict) -> dict:
        """Flip the image, and the label map if there is one."""
        results = super().transform(results)
        direction = results["flip_direction"]
        if direction is None or "gt_score_map" not in results:
            return results
        left, top, right, bottom = results["gt_crop_box"]
        if direction != "vertical":
            results["gt_score_map"] = results["gt_score_map"].flip(3)
            left, right = 1 - right, 1 - left
        if direction != "horizontal":
            results["gt_score_map"] = results["gt_score_map"].flip(2)
            top, bottom = 1 - bottom, 1 - top
        results["gt_crop_box"] = (left, top, right, bottom)
        return results


def warp_label_map(maps: Tensor, sources: np.ndarray) -> Tensor:
    """Sample a label map anew, each cell from the nearest one to where it comes from.

    Args:
        maps: Logits and classes, (2, k, S, S).
        sources: From the column and row of a cell to those that it comes from, (2, 3).

    Returns:
        The new map. Cells that come from outside the map have logits of 0, that is, no evidence.
    """
    size = maps.shape[-1]
    rows, columns = np.mgrid[:size, :size]
    found = np.einsum("ij,jrc->irc", sources, np.stack([columns, rows, np.ones_like(rows)]))
    # What stays where it is must not fall off the border by rounding.
    outside = ((found < -1e-6) | (found > size - 1 + 1e-6)).any(axis=0)
    columns, rows = np.floor(found + 0.5).clip(0, size - 1).astype(np.int64)
    warped = maps[:, :, torch.from_numpy(rows), torch.from_numpy(columns)]
    warped[0, :, torch.from_numpy(outside)] = 0
    return warped


def affine_matrix(operation: Any, value: float, size: tuple[int, int]) -> np.ndarray:
    """Where a geometric operation of MMPretrain moves the pixels of an image.

    Args:
        operation: ``Rotate``, ``Shear`` or ``Translate``.
        value: Its angle or magnitude.
        size: Height and width of the image.

    Returns:
        From columns and rows before to those after, (3, 3).
    """
    height, width = size
    matrix = np.eye(3)
    if isinstance(operation, Rotate):
        centre = operation.center or ((width - 1) / 2, (height - 1) / 2)
        matrix[:2] = cv2.getRotationMatrix2D(centre, -value, operation.scale)
        return matrix
    axis = 0 if operation.direction == "horizontal" else 1
    if isinstance(operation, Shear):
        matrix[axis, 1 - axis] = value
    else:
        matrix[axis, 2] = value * (width, height)[axis]
    return matrix


def cells_to_pixels(size: tuple[int, int], cells: int, box: Box) -> np.ndarray:
    """From columns and rows of a label map's cells to those of pixels, centre to centre.

    Args:
        size: Height and width of the image.
        cells: Cells along each side of the map.
        box: The part of the map that the image shows.

    Returns:
        The affine matrix, (3, 3).
    """
    matrix = np.eye(3)
    for axis, (length, low, high) in enumerate(zip(size[::-1], box[:2], box[2:], strict=True)):
        pixels = length / (high - low)  # along the map's side
        matrix[axis, axis] = pixels / cells
        matrix[axis, 2] = pixels * (0.5 / cells - low) - 0.5
    return matrix


@TRANSFORMS.register_module()
class TokenLabelRandAugment(RandAugment):
    """MMPretrain's ``RandAugment``, whose geometric operations warp the label map as well.

    Args:
        policies: As in ``RandAugment``, and all else up to ``hparams``.
        num_policies: Operations an image.
        magnitude_level: Magnitude of the operations, out of ``total_level``.
        magnitude_std: Standard deviation of the magnitude.
        total_level: The largest magnitude.
        hparams: Settings of the operations that have them.
        interpolation: Names of interpolations, of which one is drawn for each geometric
            operation; without them each operation has its own.
    """

    def __init__(
        self,
        policies: str | list[dict],
        num_policies: int,
        magnitude_level: float,
        magnitude_std: float | str = 0.0,
        total_level: int = 10,
        hparams: dict | None = None,
        interpolation: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            policies,
            num_policies,
            magnitude_level,
            magnitude_std,
            total_level,
            hparams={"pad_val": 128} if hparams is None else hparams,
        )
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Apply some operations, in the order in which they are drawn."""
        for index in self.random_policy_indices():
            operation = self.transforms[index]
            if not isinstance(operation, (Rotate, Shear, Translate)):
                results = operation(results)
            elif not operation.random_disable():
                self.warp(operation, results)
        return results

    def warp(self, operation: Any, results: dict) -> None:
        """Apply a geometric operation to the image and to the label map, with one draw."""
        fixed = operation.angle if isinstance(operation, Rotate) else operation.magnitude
        value = operation.random_negative(operation.random_magnitude() if fixed is None else fixed)
        names = self.interpolation or (operation.interpolation,)
        image, padding = results["img"], operation.pad_val
        height, width = size = image.shape[:2]
        matrix = affine_matrix(operation, value, size)
        results["img"] = cv2.warpAffine(
            image,
            matrix[:2],
            (width, height),
            flags=cv2_interp_codes[names[np.random.randint(len(names))]],
            borderValue=padding if isinstance(padding, tuple) else (padding,) * 3,
        )
        if "gt_score_map" in results:
            maps = results["gt_score_map"]
            pixels = cells_to_pixels(size, maps.shape[-1], results["gt_crop_box"])
            sources = np.linalg.inv(pixels) @ np.linalg.inv(matrix) @ pixels
            results["gt_score_map"] = warp_label_map(maps, sources[:2])


@TRANSFORMS.register_module()
class TokenLabelRandomResizedCrop(RandomResizedCrop):
    """MMPretrain's ``RandomResizedCrop``, which notes the part of the label map that is left.

    Args:
        scale: Side of the result, or height and width.
        crop_ratio_range: Area of the crop, as a share of the image's.
        aspect_ratio_range: Aspect ratio of the crop.
        max_attempts: Draws of a crop that does not fit, before the central one is taken.
        interpolation: Name of an interpolation, or names of which one is drawn for each image.
        backend: ``'cv2'`` or ``'pillow'``, for resizing.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        max_attempts: int = 10,
        interpolation: str | Sequence[str] = "bilinear",
        backend: str = "cv2",
    ) -> None:
        names = (interpolation,) if isinstance(interpolation, str) else tuple(interpolation)
        super().__init__(
            scale, crop_ratio_range, aspect_ratio_range, max_attempts, names[0], backend
        )
        self.interpolations = names

    def transform(self, results: dict) -> dict:
        """Crop and resize the image, and note what was cropped."""
        image = results["img"]
        top, left, height, width = self.rand_crop_params(image)
        ends = np.array([left, top, left + width - 1, top + height - 1])
        image_height, image_width = image.shape[:2]
        results["img"] = mmcv.imresize(
            mmcv.imcrop(image, ends),
            tuple(self.scale[::-1]),
            interpolation=self.interpolations[np.random.randint(len(self.interpolations))],
            backend=self.backend,
        )
        results["img_shape"] = results["img"].shape
        if "gt_score_map" in results:
            x, y, right, bottom = results["gt_crop_box"]
            across, down = (right - x) / image_width, (bottom - y) / image_height
            results["gt_crop_box"] = (
                x + left * across,
                y + top * down,
                x + (left + width) * across,
                y + (top + height) * down,
            )
        return results
