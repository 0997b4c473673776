"""Pictures of single images with what a model predicts beside the truth."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer

UNPAINTED = "background"  # a class of this name is what is left when all else is labelled
OPACITY = 0.7
GRAY = (128, 128, 128)

_TEXT = {"colors": "w", "font_sizes": 10}
_TEXT_BOX = {"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"}
_TEXT_HEIGHT = 18  # pixels of a line


def draw_sample(
    runner: Runner,
    sample: BaseDataElement,
    file: str | os.PathLike,
    score_thr: float = 0.3,
    min_size: int = 384,
) -> None:
    """Save a picture of one image with its prediction beside the truth.

    A detector's and a segmentor's truth is to the left and its prediction, of the same size, to
    the right; a classifier's labels are written into the image.

    Args:
        runner: The run, with the framework's visualizer.
        sample: The image's data sample, with its path, truth and prediction.
        file: The picture; missing directories are made.
        score_thr: Boxes with a lower score are not drawn.
        min_size: Shorter side, in pixels, that small images are enlarged to at least.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if hasattr(runner.visualizer, "visualize_cls"):
        image = read_image(sample)
        factor = enlargement(image, min_size)
        runner.visualizer.visualize_cls(image, sample, rescale_factor=factor, out_file=str(file))
    else:
        halves = truth_and_prediction(runner.visualizer, sample, score_thr, min_size)
        mmcv.imwrite(mmcv.rgb2bgr(np.hstack(halves)), str(file))


def truth_and_prediction(
    visualizer: Visualizer,
    sample: BaseDataElement,
    score_thr: float = 0.3,
    min_size: int = 384,
    names: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw boxes, masks or label maps into an image.

    Small images are enlarged by a whole number: the image smoothly, labels exactly.

    Args:
        visualizer: Knows classes and colours.
        sample: MMDetection's or MMSegmentation's data sample.
        score_thr: Boxes with a lower score are not drawn.
        min_size: Shorter side, in pixels, that small images are enlarged to at least.
        names: Write the names of the classes into label maps.

    Returns:
        Two images (H, W, 3) in RGB; what the sample lacks is not drawn.
    """
    image, sample, meta = read_image(sample), sample.cpu(), visualizer.dataset_meta
    factor = enlargement(image, min_size)
    image = mmcv.imrescale(image, factor, interpolation="bicubic")
    pictures = []
    for kind in ("gt", "pred"):
        picture = image
        labels = label_map(sample, kind)
        if labels is not None:
            labels = _enlarge(labels, factor)
            picture = paint_labels(picture, labels, meta)
            if names:
                picture = name_regions(visualizer, picture, labels)
        # A panoptic map has the things in it already.
        if f"{kind}_instances" in sample and "pred_panoptic_seg" not in sample:
            instances = sample.get(f"{kind}_instances")
            picture = draw_instances(visualizer, picture, instances, factor, score_thr)
        pictures.append(picture)
    return pictures[0], pictures[1]


def label_map(sample: Any, kind: str) -> np.ndarray | None:
    """Return the label of each pixel, (H, W), or None where a data sample has no label map.

    Args:
        sample: MMDetection's or MMSegmentation's data sample.
        kind: ``gt`` or ``pred``.
    """
    if f"{kind}_panoptic_seg" in sample:
        # MMDetection adds 1000 times the number of the segment to its label.
        return sample.get(f"{kind}_panoptic_seg").sem_seg[0].cpu().numpy() % 1000
    if f"{kind}_sem_seg" in sample:
        maps = sample.get(f"{kind}_sem_seg")
        return (maps.sem_seg if "sem_seg" in maps else maps.data)[0].cpu().numpy()
    return None


def read_image(sample: Any) -> np.ndarray:
    """Read the image of a data sample: (H, W, 3) in RGB."""
    return mmcv.imread(str(sample.img_path), channel_order="rgb")


def enlargement(image: np.ndarray, min_size: int) -> int:
    """Return the least whole factor that makes the shorter side `min_size` pixels long."""
    return max(1, math.ceil(min_size / min(image.shape[:2])))


def draw_instances(
    visualizer: Visualizer,
    image: np.ndarray,
    instances: InstanceData,
    factor: int,
    score_thr: float,
) -> np.ndarray:
    """Draw boxes and, where there are any, masks, each in the colour of its class.

    Args:
        visualizer: Knows classes and colours.
        image: (H, W, 3) in RGB, enlarged.
        instances: MMDetection's, in pixels of the image before it was enlarged.
        factor: By which the image was enlarged.
        score_thr: Boxes with a lower score are not drawn.

    Returns:
        (H, W, 3) in RGB.
    """
    if "scores" in instances:
        instances = instances[instances.scores >= score_thr]
        # What is drawn last covers what lies below: the surest comes last.
        instances = instances[instances.scores.argsort()]
    if not len(instances):
        return image
    classes, palette = visualizer.dataset_meta["classes"], visualizer.dataset_meta.get("palette")
    labels = instances.labels.tolist()
    colours = [tuple(palette[label]) if palette else GRAY for label in labels]
    visualizer.set_image(image)
    if "masks" in instances:
        masks = instances.masks
        if hasattr(masks, "to_ndarray"):  # annotated ones are in MMDetection's own structures
            masks = masks.to_ndarray()
        masks = _enlarge(np.asarray(masks, bool), factor)
        visualizer.draw_binary_masks(masks, colors=colours, alphas=OPACITY)
    boxes = instances.bboxes * factor
    visualizer.draw_bboxes(boxes, edge_colors=colours, line_widths=2)
    texts = [classes[label] for label in labels]
    if "scores" in instances:
        texts = [f"{text} {score:.0%}" for text, score in zip(texts, instances.scores, strict=True)]
    above = boxes[:, 1] >= _TEXT_HEIGHT  # so that the writing does not cover what is in the box
    visualizer.draw_texts(
        texts,
        boxes[:, :2],
        vertical_alignments=["bottom" if each else "top" for each in above],
        bboxes=[_TEXT_BOX] * len(texts),
        **_TEXT,
    )
    return visualizer.get_image()


def painted_labels(labels: np.ndarray, classes: Sequence[str]) -> list[int]:
    """List the labels of a map, in ascending order, that are painted.

    Not among them are background and values that stand for no class, as 255 does.
    """
    return [
        label
        for label in np.unique(labels).tolist()
        if label < len(classes) and classes[label] != UNPAINTED
    ]


def paint_labels(image: np.ndarray, labels: np.ndarray, meta: Mapping[str, Any]) -> np.ndarray:
    """Tint an image with the colours of its labels; background stays as it is.

    Args:
        image: (H, W, 3) in RGB.
        labels: (H, W).
        meta: `classes` and `palette` of the data set.

    Returns:
        (H, W, 3) in RGB.
    """
    painted = np.isin(labels, painted_labels(labels, meta["classes"]))
    colours = np.array(meta["palette"], np.float32)[labels[painted]]
    picture = image.copy()
    picture[painted] = (1 - OPACITY) * image[painted] + OPACITY * colours
    return picture


def name_regions(visualizer: Visualizer, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Write the names of the classes into a label map, once each.

    Args:
        visualizer: Knows the classes.
        image: (H, W, 3) in RGB.
        labels: (H, W).

    Returns:
        (H, W, 3) in RGB.
    """
    classes = visualizer.dataset_meta["classes"]
    visualizer.set_image(image)
    for label in painted_labels(labels, classes):
        rows, columns = (labels == label).nonzero()
        middle = len(rows) // 2  # surely inside the region, whatever its shape
        visualizer.draw_texts(
            classes[label],
            np.array([columns[middle], rows[middle]]),
            vertical_alignments="center",
            horizontal_alignments="center",
            bboxes=_TEXT_BOX,
            **_TEXT,
        )
    return visualizer.get_image()


def _enlarge(maps: np.ndarray, factor: int) -> np.ndarray:
    """Repeat the pixels of (..., H, W) maps."""
    return maps.repeat(factor, -2).repeat(factor, -1)


@HOOKS.register_module()
class SavePicturesHook(Hook):
    """Save a picture of every test image with its prediction beside the truth.

    It does so in the same way for all frameworks. Of their own hooks, MMPretrain's draws the
    network's input, in the wrong channel order and not at all under test-time augmentation, and
    MMSegmentation's cannot be told a directory.

    Args:
        out_dir: Directory of the pictures. Each keeps the name of the image's folder, since
            images of different classes may have the same name.
        score_thr: Boxes with a lower score are not drawn.
    """

    priority = "LOW"

    def __init__(self, out_dir: str, score_thr: float = 0.3) -> None:
        self.out_dir = Path(out_dir)
        self.score_thr = score_thr

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the images of a batch."""
        for sample in outputs or ():
            path = Path(sample.img_path)
            picture = self.out_dir / path.parent.name / f"{path.stem}.png"
            draw_sample(runner, sample, picture, self.score_thr)
