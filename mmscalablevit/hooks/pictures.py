"""Pictures of single images with what a model predicts beside the truth.

They are drawn on axes of Matplotlib's figures, which need neither a screen nor a backend, and in
every process; the frameworks' visualizers draw in the first process only.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData

from mmscalablevit.files import write_whole

UNPAINTED = "background"  # a class of this name is what is left when all else is labelled
OPACITY = 0.7

_DPI = 128  # a power of two, so that sizes in inches are whole pixels again
_TEXT_BOX = {"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"}
_TEXT_SHARE = 0.06  # of an image's height, about that of a line


def is_classified(sample: BaseDataElement) -> bool:
    """Tell whether a data sample is of an image that has been classified as a whole."""
    return "pred_label" in sample


def read_image(sample: Any) -> np.ndarray:
    """Read the image of a data sample: (H, W, 3) in RGB."""
    return mmcv.imread(str(sample.img_path), channel_order="rgb")


def draw_sample(
    axes: Axes,
    image: np.ndarray,
    sample: BaseDataElement,
    kind: str,
    meta: Mapping[str, Any],
    score_thr: float = 0.3,
    names: bool = True,
) -> None:
    """Draw an image, and over it boxes, masks or a label map, in pixels of the image.

    Small images are enlarged smoothly, labels exactly. What the sample lacks is not drawn.

    Args:
        axes: Where to draw.
        image: (H, W, 3) in RGB.
        sample: The framework's data sample of the image.
        kind: ``gt`` or ``pred``.
        meta: `classes` of the data set and their `palette`; what it lacks is made up.
        score_thr: Boxes with a lower score are not drawn.
        names: Write the names of the classes into label maps.
    """
    sample = sample.cpu()
    axes.set_axis_off()
    axes.imshow(image, interpolation="bicubic")
    labels = label_map(sample, kind)
    if labels is not None:
        painted = painted_labels(labels, meta)
        _tint(axes, [(labels == label, colour(meta, label)) for label in painted])
        for label in painted if names else ():
            rows, columns = (labels == label).nonzero()
            row = rows[len(rows) // 2]
            across = columns[rows == row]  # its middle is inside the region, whatever its shape
            place = (across[len(across) // 2], row)
            _write(axes, place, class_name(meta, label), ha="center", va="center")
    # A panoptic map has the things in it already.
    if f"{kind}_instances" in sample and "pred_panoptic_seg" not in sample:
        _draw_instances(axes, sample.get(f"{kind}_instances"), meta, score_thr)


def _draw_instances(
    axes: Axes, instances: InstanceData, meta: Mapping[str, Any], score_thr: float
) -> None:
    """Draw boxes and, where there are any, masks, each in the colour of its class."""
    if "scores" in instances:
        instances = instances[instances.scores >= score_thr]
        # What is drawn last covers what lies below: the surest comes last.
        instances = instances[instances.scores.argsort()]
    if not len(instances):  # it may lack even the labels
        return
    labels = instances.labels.tolist()
    if "masks" in instances:
        masks = instances.masks
        if hasattr(masks, "to_ndarray"):  # annotated ones are in MMDetection's own structures
            masks = masks.to_ndarray()
        colours = [colour(meta, label) for label in labels]
        _tint(axes, list(zip(np.asarray(masks, bool), colours, strict=True)))
    texts = [class_name(meta, label) for label in labels]
    if "scores" in instances:
        texts = [f"{text} {score:.0%}" for text, score in zip(texts, instances.scores, strict=True)]
    height = axes.get_ylim()[0]
    for label, text, box in zip(labels, texts, instances.bboxes.tolist(), strict=True):
        left, top, right, bottom = (edge - 0.5 for edge in box)  # pixels lie around their centres
        size, edge_colour = (right - left, bottom - top), colour(meta, label)
        frame = Rectangle((left, top), *size, fill=False, edgecolor=edge_colour, linewidth=1.5)
        axes.add_patch(frame)
        above = top > _TEXT_SHARE * height  # so that the writing does not cover what is in the box
        _write(axes, (left, top), text, ha="left", va="bottom" if above else "top")


def _tint(axes: Axes, regions: Sequence[tuple[np.ndarray, tuple[float, float, float]]]) -> None:
    """Colour regions (H, W) of the image on some axes; the later ones cover the others."""
    if regions:
        picture = np.zeros((*regions[0][0].shape, 4))
        for region, rgb in regions:
            picture[region] = [*rgb, OPACITY]
        axes.imshow(picture, interpolation="nearest")


def _write(axes: Axes, place: tuple[float, float], text: str, ha: str, va: str) -> None:
    axes.text(*place, text, color="white", fontsize=8, ha=ha, va=va, bbox=_TEXT_BOX, clip_on=True)


def class_name(meta: Mapping[str, Any], label: int) -> str:
    """Name a class, by its number where no name is known; ImageNet's have several names."""
    classes = meta.get("classes") or ()
    return str(classes[label]).split(",")[0] if label < len(classes) else str(label)


def colour(meta: Mapping[str, Any], label: int) -> tuple[float, float, float]:
    """Return the colour of a class in RGB, from 0 to 1."""
    palette = meta.get("palette")
    if palette is None or isinstance(palette, str) or label >= len(palette):
        red, green, blue, _ = colormaps["tab20"](label % 20)
    else:
        red, green, blue = (channel / 255 for channel in palette[label][:3])
    return red, green, blue


def label_map(sample: Any, kind: str) -> np.ndarray | None:
    """Return the label of each pixel, (H, W), of ``gt`` or ``pred``; None without a label map."""
    if f"{kind}_panoptic_seg" in sample:
        # MMDetection adds 1000 times the number of the segment to its label.
        return sample.get(f"{kind}_panoptic_seg").sem_seg[0].cpu().numpy() % 1000
    if f"{kind}_sem_seg" in sample:
        maps = sample.get(f"{kind}_sem_seg")
        return (maps.sem_seg if "sem_seg" in maps else maps.data)[0].cpu().numpy()
    return None


def painted_labels(labels: np.ndarray, meta: Mapping[str, Any]) -> list[int]:
    """List the labels of a map, in ascending order, that are painted.

    Not among them are background and values that stand for no class, as 255 does.
    """
    classes = meta.get("classes") or range(255)
    return [
        label
        for label in np.unique(labels).tolist()
        if label < len(classes) and classes[label] != UNPAINTED
    ]


def describe_labels(sample: Any, meta: Mapping[str, Any]) -> tuple[str, bool]:
    """Say which classes an image was given, how surely, and which it has if they are others.

    Returns:
        The text, and whether the labels are right or nothing is known of the truth.
    """
    predicted = sample.pred_label.tolist()
    text = ", ".join(
        f"{class_name(meta, label)} ({sample.pred_score[label]:.0%})" for label in predicted
    )
    true = sample.gt_label.tolist() if "gt_label" in sample else predicted
    if sorted(predicted) == sorted(true):
        return text or "none", True
    return f"{text or 'none'}, is {', '.join(class_name(meta, label) for label in true)}", False


def save_picture(
    sample: BaseDataElement,
    meta: Mapping[str, Any],
    file: Path,
    score_thr: float = 0.3,
    min_size: int = 384,
    truth: bool = True,
) -> None:
    """Save a picture of one image with its prediction, whole or not at all.

    A detector's and a segmentor's truth, if it is wanted, is to the left and its prediction, of the
    same size, to the right; a classifier's labels are written into the image. Images whose shorter
    side is below ``min_size`` pixels are enlarged by a whole number. Missing directories are made.
    """
    image = read_image(sample)
    height, width = image.shape[:2]
    factor = max(1, math.ceil(min_size / min(height, width))) / _DPI
    kinds = ("gt", "pred") if truth and not is_classified(sample) else ("pred",)
    figure = Figure(figsize=(len(kinds) * width * factor, height * factor), dpi=_DPI)
    for number, kind in enumerate(kinds):
        axes = figure.add_axes((number / len(kinds), 0, 1 / len(kinds), 1))
        draw_sample(axes, image, sample, kind, meta, score_thr)
        if is_classified(sample):
            _write(axes, (0, 0), describe_labels(sample, meta)[0], ha="left", va="top")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(file, content.getvalue())


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
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the images of a batch."""
        meta = getattr(runner.test_dataloader.dataset, "metainfo", {})
        for sample in outputs or ():
            path = Path(sample.img_path)
            picture = self.out_dir / path.parent.name / f"{path.stem}.png"
            save_picture(sample, meta, picture, self.score_thr)
