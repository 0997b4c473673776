"""Handwritten digits, alone and on photographs, from images inside scikit-learn.

scikit-learn ships 1,797 real 8x8 scans of handwritten digits and two photographs. This module
splits both into disjoint training and validation halves and draws *scenes*: scans of several
sizes and colours on crops of the photographs. A scene knows which pixel belongs to which digit,
from which boxes, instance masks and semantic labels all follow. Nothing here touches the disk;
`digits_export` writes the data sets. Without scikit-learn, whatever needs it raises
ModuleNotFoundError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
PALETTE = [
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
    (145, 30, 180), (70, 240, 240), (240, 50, 230), (170, 255, 60), (250, 190, 190),
]  # fmt: skip
# The COCO category of a digit is the digit plus one; so is its label value, background being zero.
DETECTION_METAINFO = {"classes": CLASSES, "palette": PALETTE}
SEGMENTATION_METAINFO = {"classes": ("background", *CLASSES), "palette": [(60, 60, 60), *PALETTE]}

SPLITS = ("train", "val")
NUM_VAL_SCANS = 400
VAL_COLUMN = 400  # first photo column of the validation scenes; training scenes stay left of it

# Least distance, of at most 255, between the colour of a digit and most of what surrounds it:
# Euclidean in RGB, each channel weighted by its share of the brightness (ITU-R BT.601), so that
# dark blue on black does not count as contrast.
MIN_CONTRAST = 60
CHANNEL_WEIGHTS = (0.299, 0.587, 0.114)
MIN_CONTRAST_SHARE = 0.9  # of the surrounding pixels; photographs are never flat
MARGIN = 4  # how far, in pixels, surroundings reach beyond a box, free of other digits' boxes
MIN_VISIBLE = 0.5  # share of a digit that stays visible when others are drawn over it

_MIN_DIGITS, _MAX_DIGITS = 2, 5  # 3.5 a scene on average
_MIN_CROP, _MAX_CROP = 64, 160  # side of a background in the photograph, in pixels
_PLACEMENTS = 80  # places tried before a digit is made smaller
_INKS = 8  # colours tried at a place
_INK_LEVEL = 0.43  # coverage that counts as ink: lower fills holes, higher breaks thin strokes
_EDGE_WIDTH = 2.0  # pixels over which an edge fades from ink to nothing

_Window = tuple[slice, slice]


@dataclass(frozen=True)
class Glyphs:
    """Scans of handwritten digits.

    Attributes:
        images: (N, 8, 8) ink coverage from 0 (paper) to 1.
        labels: (N,) the digits, 0 to 9.
        indices: (N,) positions in scikit-learn's `load_digits`.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Scene:
    """Digits on a photograph.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        instances: (S, S) uint8; 0 is background, k the pixels where the k-th digit is visible.
        labels: The digit of each instance.
        scans: The position of each instance's scan in `load_digits`.
        photo: File name of the photograph in scikit-learn.
        crop: Left, top, width and height of the background in the photograph.
    """

    image: np.ndarray
    instances: np.ndarray
    labels: list[int]
    scans: list[int]
    photo: str
    crop: tuple[int, int, int, int]

    def masks(self) -> np.ndarray:
        """Visible pixels of each digit, (number of digits, S, S) bool."""
        return self.instances == np.arange(1, len(self.labels) + 1)[:, None, None]

    def semantic(self) -> np.ndarray:
        """Label map for segmentation, (S, S) uint8: 0 is background, a digit its value plus 1."""
        lookup = np.array([0, *(label + 1 for label in self.labels)], np.uint8)
        return lookup[self.instances]


def load_glyphs(seed: int) -> dict[str, Glyphs]:
    """Split the 1,797 scans into 1,397 for training and 400 that a seed holds out, by digit."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    images = (digits.images / 16).astype(np.float32)
    parts = model_selection.train_test_split(
        np.arange(len(images)),
        test_size=NUM_VAL_SCANS,
        stratify=digits.target,
        random_state=seed,
    )
    return {
        split: Glyphs(images[index], digits.target[index], index)
        for split, index in zip(SPLITS, map(np.sort, parts), strict=True)
    }


def load_photos() -> dict[str, dict[str, np.ndarray]]:
    """Cut each photograph into a training side, left of `VAL_COLUMN`, and a validation side.

    Returns:
        For each split the sides by file name, (H, W, 3) uint8 RGB.
    """
    from sklearn import datasets

    sample = datasets.load_sample_images()
    photos = {
        Path(file).name: image for file, image in zip(sample.filenames, sample.images, strict=True)
    }
    return {
        "train": {name: photo[:, :VAL_COLUMN] for name, photo in photos.items()},
        "val": {name: photo[:, VAL_COLUMN:] for name, photo in photos.items()},
    }


def enlarge(scan: np.ndarray, side: int) -> np.ndarray:
    """Interpolate an 8x8 scan smoothly (bicubic) to (side, side) ink coverage in [0, 1]."""
    image = Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image).clip(0, 1)


def render(scan: np.ndarray, side: int) -> np.ndarray:
    """Opacity of a digit with edges about two pixels soft, cropped to what is not clear.

    Interpolation alone would blur an edge over a whole cell of the scan (`side` / 8 pixels); so
    the coverage is steepened around the level that counts as ink, the more the larger the digit.

    Args:
        scan: (8, 8) ink coverage.
        side: Pixels to which the scan's eight cells are enlarged.

    Returns:
        (h, w) float32 in [0, 1]; at least 0.5 is inside the digit's mask.
    """
    cell = side / 8
    # A clear border lets strokes that end at the scan's rim end as softly as the others.
    coverage = enlarge(np.pad(scan, 1), round(10 * cell))
    coverage /= coverage.max()
    slope = max(cell / _EDGE_WIDTH, 0.5 / _INK_LEVEL)  # at least so steep that paper is clear
    opacity = ((coverage - _INK_LEVEL) * slope + 0.5).clip(0, 1)
    # Faint traces that do not count as ink would lie on the scene without belonging to a digit.
    ink = Image.fromarray((opacity >= 0.5).astype(np.uint8))
    opacity[np.asarray(ink.filter(ImageFilter.MaxFilter(5))) == 0] = 0
    rows, columns = opacity.any(axis=1).nonzero()[0], opacity.any(axis=0).nonzero()[0]
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def draw_scenes(
    split: str, count: int, seed: int, size: int = 128, overlap: bool = False
) -> Iterator[Scene]:
    """Draw scenes from the scans and photograph sides of one split.

    A scene does not depend on how many follow. Scans are used in shuffled rounds, so that all
    appear equally often.

    Args:
        split: 'train' or 'val'.
        count: Number of scenes.
        seed: Decides the split of the scans and all that is drawn.
        size: Side of the square scenes in pixels; digits are a quarter to a half of it.
        overlap: Let later digits cover earlier ones, as long as `MIN_VISIBLE` of each stays.
    """
    glyphs = load_glyphs(seed)[split]
    photos = load_photos()[split]
    left = VAL_COLUMN if split == "val" else 0
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    rounds = _shuffled_rounds(len(glyphs), np.random.default_rng([seed, SPLITS.index(split), 1]))
    for _ in range(count):
        photo = sorted(photos)[rng.integers(len(photos))]
        background, (x, y, side) = _crop(rng, photos[photo], size)
        picks = [next(rounds) for _ in range(rng.integers(_MIN_DIGITS, _MAX_DIGITS + 1))]
        canvas = _Canvas(background, overlap)
        drawn = [k for k in picks if canvas.add(rng, glyphs.images[k])]
        yield Scene(
            image=canvas.image,
            instances=canvas.instances,
            labels=glyphs.labels[drawn].tolist(),
            scans=glyphs.indices[drawn].tolist(),
            photo=photo,
            crop=(left + x, y, side, side),
        )


def keeps_contrast(inks: np.ndarray, surroundings: np.ndarray) -> np.ndarray:
    """Whether each ink, (K, 3) RGB, stands out from surroundings as `MIN_CONTRAST` defines it.

    These are the RGB of the P pixels around a digit, (P, 3). Returns (K,) bool.
    """
    difference = inks[:, None].astype(np.float32) - surroundings
    far = difference**2 @ np.array(CHANNEL_WEIGHTS, np.float32) >= MIN_CONTRAST**2
    return far.mean(axis=1) >= MIN_CONTRAST_SHARE


class _Canvas:
    """A scene in the making: the image so far and which pixel belongs to which digit."""

    def __init__(self, background: np.ndarray, overlap: bool) -> None:
        self.image = background
        self.instances = np.zeros(background.shape[:2], np.uint8)
        self.taken = np.zeros(background.shape[:2], bool)
        self.areas: list[int] = []
        self.overlap = overlap

    def add(self, rng: np.random.Generator, scan: np.ndarray) -> bool:
        """Draw a scan in a random size, place and colour; False if no place was found for it."""
        smallest, largest = len(self.image) // 4, len(self.image) // 2
        while True:
            side = int(rng.integers(smallest, largest + 1))
            if self._place(rng, render(scan, side)):
                return True
            if side == smallest:
                return False
            largest = side - 1  # next time smaller: the room is what lacks, as a rule

    def _place(self, rng: np.random.Generator, opacity: np.ndarray) -> bool:
        """Draw a digit where there is room and a colour for it; False if nothing was drawn."""
        highest = np.subtract(self.instances.shape, opacity.shape)
        for y, x in rng.integers(0, highest, (_PLACEMENTS, 2), endpoint=True):
            box = _window(y, x, opacity.shape)
            around = _window(y, x, opacity.shape, margin=MARGIN)
            if self._has_room(opacity >= 0.5, box, around):
                ink = self._choose_ink(rng, opacity > 0, box, around)
                if ink is not None:
                    self._paint(opacity, ink, box)
                    return True
        return False

    def _has_room(self, mask: np.ndarray, box: _Window, around: _Window) -> bool:
        if not self.overlap:
            return not self.taken[around].any()
        covered = np.bincount(self.instances[box][mask], minlength=len(self.areas) + 1)[1:]
        visible = np.bincount(self.instances.ravel(), minlength=len(self.areas) + 1)[1:] - covered
        return bool((visible >= MIN_VISIBLE * np.array(self.areas)).all())

    def _choose_ink(
        self, rng: np.random.Generator, touched: np.ndarray, box: _Window, around: _Window
    ) -> np.ndarray | None:
        """Draw a colour that stands out from the image as it is around the digit."""
        clear = np.ones(self.image.shape[:2], bool)
        clear[box] = ~touched
        inks = rng.integers(0, 256, (_INKS, 3))
        good = keeps_contrast(inks, self.image[around][clear[around]])
        return inks[good.argmax()] if good.any() else None

    def _paint(self, opacity: np.ndarray, ink: np.ndarray, box: _Window) -> None:
        mask = opacity >= 0.5
        below = self.image[box]
        mixed = below + opacity[..., None] * (ink - below.astype(np.float32))
        self.image[box] = mixed.round().astype(np.uint8)
        self.areas.append(int(mask.sum()))
        self.instances[box][mask] = len(self.areas)
        self.taken[box] = True


def _window(y: int, x: int, shape: tuple[int, ...], margin: int = 0) -> _Window:
    """Index of a box, grown by a margin as far as the image reaches."""
    height, width = shape
    return np.s_[max(y - margin, 0) : y + height + margin, max(x - margin, 0) : x + width + margin]


def _shuffled_rounds(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield 0 to `count` - 1 in random order, again and again."""
    while True:
        yield from rng.permutation(count).tolist()


def _crop(
    rng: np.random.Generator, photo: np.ndarray, size: int
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Cut a random square out of a photograph and resize it to a scene's side.

    Returns:
        The (size, size, 3) background, and left, top and side of the square in the photograph.
    """
    side = int(rng.integers(_MIN_CROP, _MAX_CROP + 1))
    y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
    square = Image.fromarray(photo[y : y + side, x : x + side])
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC)), (x, y, side)
