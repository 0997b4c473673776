"""Panoptic segmentation without panopticapi, which no package index carries.

MMDetection's loading and its metric import that package. Both are short, and are here: the first as
a transform of the same arguments, the second by the definition of `Panoptic Segmentation
<https://arxiv.org/abs/1801.00868>`_. Importing this module needs MMDetection; a config names it
beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.evaluation.panoptic"])
"""

from __future__ import annotations

import io
import json
import os.path
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmdet.datasets.api_wrappers import COCOPanoptic
from mmdet.evaluation import INSTANCE_OFFSET
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get

from mmscalablevit.datasets.panoptic import read_segment_ids
from mmscalablevit.files import write_whole

VOID = 0  # what belongs to no segment, in COCO's label images
_ID_RANGE = 2**32  # ids of segments are below


def match_segments(
    truth: np.ndarray,
    segments: Sequence[dict],
    prediction: np.ndarray,
    labels: dict[int, int],
    num_classes: int,
) -> np.ndarray:
    """Compare the segments of one image with those predicted.

    A predicted segment and a true one match if they are of one class and their intersection over
    union, what is void in truth left out, is above a half. Predictions that lie mostly on void,
    or on a crowd of their class, count neither way.

    Args:
        truth: Ids of the true segments, (H, W).
        segments: COCO's entries of these: ``id``, ``category_id`` (here a class from 0) and
            ``iscrowd``.
        prediction: Ids of the predicted segments, (H, W); ids that ``labels`` does not name are
            no segments.
        labels: Class of each predicted segment.
        num_classes: Number of classes.

    Returns:
        Sum of the matches' intersections over unions, number of matches, of predictions without
        a match, and of true segments without one: (num_classes, 4).
    """
    # One number a pair of ids: sorting numbers is much faster than sorting pairs.
    pairs = truth.astype(np.int64) * _ID_RANGE + prediction
    shared = {
        (int(pair // _ID_RANGE), int(pair % _ID_RANGE)): int(count)
        for pair, count in zip(*np.unique(pairs, return_counts=True), strict=True)
    }
    true_areas, areas = Counter[int](), Counter[int]()
    for (true_id, predicted_id), count in shared.items():
        true_areas[true_id] += count
        areas[predicted_id] += count
    table = np.zeros((num_classes, 4))
    ignored: dict[int, list[int]] = defaultdict(lambda: [VOID])  # by class, with its crowds
    matched = set()
    for segment in segments:
        true_id, label = segment["id"], segment["category_id"]
        if segment.get("iscrowd"):
            ignored[label].append(true_id)
            continue
        for predicted_id, predicted_label in labels.items():
            common = shared.get((true_id, predicted_id), 0)
            if predicted_label != label or not common:
                continue
            void = shared.get((VOID, predicted_id), 0)
            iou = common / (true_areas[true_id] + areas[predicted_id] - common - void)
            if iou > 0.5:
                table[label, :2] += iou, 1
                matched.add(predicted_id)
                break
        else:
            table[label, 3] += 1
    for predicted_id, label in labels.items():
        if predicted_id in matched or predicted_id not in areas:
            continue
        on_ignored = sum(shared.get((i, predicted_id), 0) for i in ignored[label])
        if on_ignored <= 0.5 * areas[predicted_id]:
            table[label, 2] += 1
    return table


def panoptic_quality(table: np.ndarray) -> tuple[float, float, float]:
    """Panoptic, segmentation and recognition quality, means over the classes that occur, in %.

    The table is the sum of what :func:`match_segments` returns. Of each class PQ = SQ * RQ, SQ the
    matches' mean intersection over union, RQ their F1 score. All are 0 if no class occurs.
    """
    iou, matches, extra, missed = table[table[:, 1:].sum(axis=1) > 0].T
    if not len(iou):
        return 0.0, 0.0, 0.0
    weight = matches + (extra + missed) / 2
    means = iou / weight, iou / np.maximum(matches, 1), matches / weight
    pq, sq, rq = (100 * float(mean.mean()) for mean in means)
    return pq, sq, rq


def predicted_segments(sample: Mapping[str, Any], num_classes: int) -> tuple[np.ndarray, dict]:
    """Read MMDetection's prediction of an image, in which the class after the last is void.

    Returns:
        Ids of the segments, (H, W), and the class of each that is not void.
    """
    ids = sample["pred_panoptic_seg"]["sem_seg"].squeeze(0).cpu().numpy()
    labels = {int(i): int(i) % INSTANCE_OFFSET for i in np.unique(ids)}
    return ids, {i: label for i, label in labels.items() if label < num_classes}


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """Panoptic quality on a data set in COCO's panoptic format.

    Reports PQ, SQ and RQ in %, of all classes, of things (``_th``) and of stuff (``_st``).

    Args:
        ann_file: COCO's panoptic annotations.
        seg_prefix: Folder of the label images.
        backend_args: Where the files are, as in MMEngine's file backends.
        collect_device: Device through which processes exchange results.
        prefix: First part of the metrics' names.
    """

    default_prefix = "coco_panoptic"

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        backend_args: dict | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.coco = COCOPanoptic(ann_file)
        self.seg_prefix = seg_prefix
        self.backend_args = backend_args

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare the predictions of a batch."""
        names = self.dataset_meta["classes"]
        labels = {category["name"]: names.index(category["name"]) for category in self.categories}
        classes = {category["id"]: labels[category["name"]] for category in self.categories}
        for sample in data_samples:
            image = self.coco.imgs[sample["img_id"]]
            path = os.path.join(self.seg_prefix, image["segm_file"])
            color = mmcv.imfrombytes(get(path, self.backend_args), channel_order="rgb")
            segments = [
                {**segment, "category_id": classes[segment["category_id"]]}
                for segment in self.coco.imgToAnns[sample["img_id"]]
            ]
            prediction, found = predicted_segments(sample, len(names))
            self.results.append(
                match_segments(read_segment_ids(color), segments, prediction, found, len(names))
            )

    @property
    def categories(self) -> list[dict]:
        """COCO's categories that the data set has."""
        return [c for c in self.coco.cats.values() if c["name"] in self.dataset_meta["classes"]]

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Sum up all images."""
        table = np.sum(results, axis=0)
        things = np.zeros(len(table), dtype=bool)
        for category in self.categories:
            things[self.dataset_meta["classes"].index(category["name"])] = category["isthing"]
        metrics: dict[str, float] = {}
        for suffix, rows in (("", slice(None)), ("_th", things), ("_st", ~things)):
            for name, value in zip(("PQ", "SQ", "RQ"), panoptic_quality(table[rows]), strict=True):
                metrics[name + suffix] = value
        return metrics


@METRICS.register_module()
class PanopticResults(BaseMetric):
    """Write panoptic predictions as COCO's evaluation server takes them; computes no metric.

    The archive ``NAME.zip`` has ``NAME.json``, with the segments of each image and their
    categories, and the folder ``NAME`` of label images.

    Args:
        out_file: Path of the archive. The server takes those that are named
            ``panoptic_SET_ALGORITHM_results.zip``, where SET is such as ``test-dev2017``.
        ann_file: A file in COCO's panoptic format, whose categories are taken.
        collect_device: Device through which processes exchange results.
    """

    def __init__(self, out_file: str, ann_file: str, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device)
        self.out_file = Path(out_file)
        self.coco = COCOPanoptic(ann_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what a batch's samples say of their images."""
        names = self.dataset_meta["classes"]
        ids = {category["name"]: category["id"] for category in self.coco.cats.values()}
        for sample in data_samples:
            prediction, found = predicted_segments(sample, len(names))
            numbered = np.zeros_like(prediction)
            segments = []
            for number, (segment, label) in enumerate(found.items(), start=1):
                numbered[prediction == segment] = number
                segments.append({"id": number, "category_id": ids[names[label]]})
            content = {
                "image_id": sample["img_id"],
                "file_name": f"{Path(sample['img_path']).stem}.png",
                "segments_info": segments,
            }
            # COCO's colours are red + 256 green + 256^2 blue; OpenCV takes blue first.
            color = np.stack([numbered >> shift & 255 for shift in (16, 8, 0)], axis=-1)
            image = cv2.imencode(".png", color.astype(np.uint8))[1].tobytes()
            self.results.append((content, image))

    def compute_metrics(self, results: list[tuple[dict, bytes]]) -> dict[str, float]:
        """Write the archive; runs in the main process, with the results of all."""
        name, archive = self.out_file.stem, io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            annotations = [content for content, _ in results]
            file.writestr(f"{name}.json", json.dumps({"annotations": annotations}))
            for content, image in results:
                file.writestr(f"{name}/{content['file_name']}", image)
        write_whole(self.out_file, archive.getvalue())
        return {}
