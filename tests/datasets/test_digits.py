from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from sklearn.datasets import load_digits, load_sample_images

from mmscalablevit.datasets import (
    Scene,
    digits,
    draw_scenes,
    load_glyphs,
    load_photos,
)

NUM_SCENES = 40


@pytest.fixture(scope="module", params=["train", "val"])
def split(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def scenes(split: str) -> list[Scene]:
    return list(draw_scenes(split, NUM_SCENES, seed=0))


@pytest.fixture(scope="module")
def overlapping(split: str) -> list[Scene]:
    return list(draw_scenes(split, NUM_SCENES, seed=0, overlap=True))


def background(scene: Scene) -> np.ndarray:
    """The photograph under a scene, cut out of scikit-learn's image again."""
    sample = load_sample_images()
    [photo] = [
        image
        for file, image in zip(sample.filenames, sample.images, strict=True)
        if file.endswith(scene.photo)
    ]
    left, top, width, height = scene.crop
    square = digits.Image.fromarray(photo[top : top + height, left : left + width])
    return np.asarray(square.resize(scene.instances.shape[::-1], digits.Image.Resampling.BICUBIC))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (exclusive) by looking at every row and column."""
    rows = [y for y in range(len(mask)) if mask[y].any()]
    columns = [x for x in range(mask.shape[1]) if mask[:, x].any()]
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def ink_of(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The most frequent colour of a digit: its flat core."""
    colours, counts = np.unique(image[mask], axis=0, return_counts=True)
    return colours[counts.argmax()]


def test_scans_are_split_without_overlap_and_stratified():
    truth = load_digits()
    glyphs = load_glyphs(seed=0)
    assert (len(glyphs["train"]), len(glyphs["val"])) == (1397, 400)
    assert sorted([*glyphs["train"].indices, *glyphs["val"].indices]) == list(range(1797))
    for part in glyphs.values():
        np.testing.assert_array_equal(part.labels, truth.target[part.indices])
        np.testing.assert_array_equal(part.images * 16, truth.images[part.indices])
        expected = np.bincount(truth.target) * len(part) / 1797
        assert np.abs(np.bincount(part.labels) - expected).max() <= 1
    assert len({*glyphs["val"].indices} & {*load_glyphs(seed=1)["val"].indices}) < 200


def test_photo_sides_rebuild_the_photographs():
    sides = load_photos()
    sample = load_sample_images()
    assert len(sides["train"]) == len(sides["val"]) == 2
    for file, photo in zip(sample.filenames, sample.images, strict=True):
        name = file.replace("\\", "/").split("/")[-1]
        joined = np.hstack([sides["train"][name], sides["val"][name]])
        np.testing.assert_array_equal(joined, photo)


def test_scenes_differ_from_the_photograph_just_where_digits_are(scenes: list[Scene]):
    soft = solid = 0
    for scene in scenes:
        changed = (scene.image != background(scene)).any(axis=2)
        drawn = scene.instances > 0
        # Inside the masks all is ink; outside, soft edges reach two pixels further at most.
        assert changed[drawn].mean() > 0.99
        assert not changed[~binary_dilation(drawn, structure=np.ones((5, 5)))].any()
        soft += (changed & ~drawn).sum()
        solid += drawn.sum()
    assert 0.1 * solid < soft < 0.5 * solid


def test_contrast_to_the_surroundings(scenes: list[Scene]):
    checked = 0
    for scene in scenes:
        photo = background(scene)
        for mask in scene.masks():
            top, left, bottom, right = box_of(mask)
            ink = ink_of(scene.image, mask).astype(float)
            far = plain = total = 0
            for y in range(max(top - 4, 0), min(bottom + 4, 128)):
                for x in range(max(left - 4, 0), min(right + 4, 128)):
                    if (scene.image[y, x] == photo[y, x]).all():  # the digit does not reach it
                        red, green, blue = (ink - photo[y, x]) ** 2
                        total += 1
                        far += 0.299 * red + 0.587 * green + 0.114 * blue >= 60**2
                        plain += red + green + blue >= 60**2
            # The package looks one pixel further at most, where the edge's opacity rounds away.
            assert far / total >= 0.88
            assert plain >= far
            checked += 1
    assert checked > 2 * NUM_SCENES


def test_number_and_size_of_digits(scenes: list[Scene]):
    counts = [len(scene.labels) for scene in scenes]
    assert min(counts) >= 2 and max(counts) <= 5 and 3 <= np.mean(counts) <= 4
    boxes = np.array([box_of(mask) for scene in scenes for mask in scene.masks()])
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert 28 <= longer.min() < 36 and 58 < longer.max() <= 68


def test_digits_keep_apart_by_default(scenes: list[Scene]):
    for scene in scenes:
        for first, second in combinations(map(box_of, scene.masks()), 2):
            apart = [second[i] - first[i + 2] for i in (0, 1)]
            apart += [first[i] - second[i + 2] for i in (0, 1)]
            assert max(apart) >= digits.MARGIN


def test_masks_show_the_scans_they_name(scenes: list[Scene], split: str):
    truth = load_digits()
    held = set(load_glyphs(seed=0)[split].indices)
    likeness = []
    for scene in scenes:
        assert len(scene.labels) == len(scene.scans) == len(scene.masks())
        for mask, label, scan in zip(scene.masks(), scene.labels, scene.scans, strict=True):
            assert scan in held
            assert truth.target[scan] == label
            # Shrunk to the cells of the scan again, the mask resembles its scan.
            cells = truth.images[scan]
            top, left, bottom, right = box_of(mask)
            inked = cells >= 0.4 * cells.max()
            rows, columns = inked.any(1).nonzero()[0], inked.any(0).nonzero()[0]
            part = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            small = digits.Image.fromarray(mask[top:bottom, left:right].astype(np.float32)).resize(
                part.shape[::-1], digits.Image.Resampling.BOX
            )
            likeness.append(np.corrcoef(np.asarray(small).ravel(), part.ravel())[0, 1])
    # A bare vertical stroke of a 1 fills its box, where a correlation says little.
    assert np.quantile(likeness, 0.05) > 0.7 and np.median(likeness) > 0.9


def test_overlapping_digits_occlude_and_stay_visible(overlapping: list[Scene]):
    touching = occluded = 0
    for scene in overlapping:
        masks = scene.masks()
        assert masks.sum(axis=0).max() == 1
        assert masks.any(axis=(1, 2)).all()
        boxes = [box_of(mask) for mask in masks]
        for (top, left, bottom, right), mask in zip(boxes, masks, strict=True):
            touching += (
                scene.instances[top:bottom, left:right][~mask[top:bottom, left:right]] > 0
            ).any()
        # A digit that nothing covers has one flat colour in most of its mask, and so has the
        # visible part of one that is covered.
        for mask in masks:
            ink = ink_of(scene.image, mask)
            assert (scene.image[mask] == ink).all(axis=1).mean() > 0.15
        apart = uncovered_areas(scene)
        occluded += sum(mask.sum() < 0.97 * whole for mask, whole in zip(masks, apart, strict=True))
        assert all(mask.sum() >= 0.45 * whole for mask, whole in zip(masks, apart, strict=True))
    assert touching > NUM_SCENES / 2
    assert occluded > NUM_SCENES / 4


def uncovered_areas(scene: Scene) -> list[float]:
    """Area that each digit would have uncovered, from its longer visible side (a lower bound)."""
    cells = load_digits().images / 16
    areas = []
    for mask, scan in zip(scene.masks(), scene.scans, strict=True):
        top, left, bottom, right = box_of(mask)
        whole = digits.render(cells[scan].astype(np.float32), 64) >= 0.5
        y0, x0, y1, x1 = box_of(whole)
        scale = max((bottom - top) / (y1 - y0), (right - left) / (x1 - x0))
        areas.append(whole.sum() * scale**2)
    return areas


def test_scenes_depend_on_seed_and_split_only():
    def pictures(*args: object, **kwargs: object) -> np.ndarray:
        return np.stack([scene.image for scene in islice(draw_scenes(*args, **kwargs), 5)])

    first = pictures("train", 5, seed=3)
    np.testing.assert_array_equal(first, pictures("train", 5, seed=3))
    np.testing.assert_array_equal(first, pictures("train", 50, seed=3))
    assert (first != pictures("train", 5, seed=4)).any()
    assert (first != pictures("val", 5, seed=3)).any()


def test_other_scene_sizes():
    for size in (64, 97, 320):
        for scene in draw_scenes("val", 3, seed=0, size=size):
            assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
            for mask in scene.masks():
                top, left, bottom, right = box_of(mask)
                assert 0.2 * size < max(bottom - top, right - left) < 0.55 * size
