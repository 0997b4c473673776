"""Training with token labels: a soft label for each position of the last map.

From `token labelling <https://arxiv.org/abs/2104.10858>`_, as LVT's released code does it.
Importing this module needs MMPretrain. A config names it beside the package::

    custom_imports = dict(imports=["mmscalablevit", "mmscalablevit.models.token_label"])
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torchvision.ops import roi_align  # type: ignore[import-untyped]

from mmscalablevit.models.pyramid import InputError
from mmscalablevit.models.token_mixing import draw_box, swap_images

# Pixels a side for each position of the last map, and of the map whose tokens are mixed.
LAST_STRIDE = 32
FIRST_STRIDE = 4


@MODELS.register_module()
class TokenLabelClassifier(ImageClassifier):
    """A classifier that trains with the tokens of two images mixed within a box.

    Every step draws a box, within which the images of a batch exchange their tokens after the
    backbone's first patch embedding. The processes of a distributed training need random numbers of
    their own: ``randomness=dict(diff_rank_seed=True)``.

    Args:
        backbone: Config of the backbone, of this package.
        neck: Config of the neck; ``ClassAttentionHead`` takes none.
        head: Config of the head, ``ClassAttentionHead``.
        train_cfg: As in ``ImageClassifier``; ``TokenLabelDataPreprocessor`` takes none.
        data_preprocessor: Config of the preprocessing, ``TokenLabelDataPreprocessor``.
        mix_tokens: Whether tokens are mixed.
        init_cfg: Initialisation by MMEngine's rules.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        mix_tokens: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone,
            neck=neck,
            head=head,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.mix_tokens = mix_tokens

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W), its tokens mixed.

        Raises:
            InputError: Tokens are to be mixed, and a side is no multiple of 32 pixels.
        """
        if not self.mix_tokens:
            return super().loss(inputs, data_samples)
        height, width = inputs.shape[2:]
        if height % LAST_STRIDE or width % LAST_STRIDE:
            raise InputError(
                f"tokens are mixed in boxes of {LAST_STRIDE}x{LAST_STRIDE} pixels, and images of"
                f" {height}x{width} are not whole boxes: train at a multiple of {LAST_STRIDE}, or"
                " with mix_tokens=False"
            )
        box = draw_box((height // LAST_STRIDE, width // LAST_STRIDE))
        inside = box.mask((height // FIRST_STRIDE, width // FIRST_STRIDE), inputs.device)
        feats = self.backbone(inputs, after_embed=partial(swap_images, inside))
        if self.with_neck:
            feats = self.neck(feats)
        return self.head.loss(feats, data_samples, box)


@MODELS.register_module()
class TokenLabelDataPreprocessor(ClsDataPreprocessor):
    """Preprocessing that makes soft targets, of the image and of each position.

    In training it gives each sample ``gt_score`` (K) and ``gt_dense_score`` (N, K), with
    N = ``label_size`` x ``label_size`` positions row by row: from the sample's label map,
    ``gt_score_map``, and the part of it that the image shows, ``gt_crop_box``; without maps, both
    from the label of the image.

    Args:
        mean: Mean of the pixels, RGB.
        std: Standard deviation of the pixels, RGB.
        to_rgb: Whether the images are to be turned from BGR to RGB.
        num_classes: Number of classes K.
        label_size: Positions along each side of the last map: image size / 32.
        label_smooth_val: Smoothing epsilon: 1 - epsilon + epsilon/K for the class of the image,
            epsilon/K for the others. Soft targets t of a map become t (1 - epsilon + epsilon/K) +
            epsilon/K, as released, and add up to 1 + epsilon/K.
        box_order: ``'xy'``, or ``'released'``: the released code takes the crop's rows for its
            columns and its columns for its rows, which mirrors it at the map's diagonal.
        ground_truth: Mix the image's label into its target, as VOLO's fine-tuning does: half of
            it, or a tenth where the map's strongest class is another. LVT learns from maps alone.
        batch_augments: Must be None: Mixup and CutMix know one label an image.

    Raises:
        ValueError: ``box_order`` is unknown, or ``batch_augments`` given.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        num_classes: int = 1000,
        label_size: int = 7,
        label_smooth_val: float = 0.1,
        box_order: Literal["xy", "released"] = "xy",
        ground_truth: bool = False,
        batch_augments: dict | None = None,
    ) -> None:
        if batch_augments:
            raise ValueError(
                "TokenLabelDataPreprocessor takes no batch augmentations, since Mixup and CutMix"
                " know one label an image: remove model.train_cfg.augments. TokenLabelClassifier"
                " mixes tokens instead"
            )
        if box_order not in ("xy", "released"):
            raise ValueError(f"box_order is 'xy' or 'released', not {box_order!r}")
        super().__init__(mean=mean, std=std, to_rgb=to_rgb, num_classes=num_classes)
        self.label_size = label_size
        self.label_smooth_val = label_smooth_val
        self.box_order = box_order
        self.ground_truth = ground_truth

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch; in training, make its targets.

        Raises:
            InputError: Some maps do not fit each other or the classes.
        """
        data = super().forward(data, training)
        if training and data["data_samples"] is not None:
            self.add_targets(data["data_samples"])
        return data

    def add_targets(self, samples: Sequence[DataSample]) -> None:
        """Give each sample of a batch its ``gt_score`` and ``gt_dense_score``.

        Raises:
            InputError: Some maps do not fit each other or the classes.
        """
        labels = torch.cat([sample.gt_label for sample in samples]).to(self.device)
        floor = self.label_smooth_val / self.num_classes
        scores = F.one_hot(labels, self.num_classes) * (1 - self.label_smooth_val) + floor
        dense = scores[:, None].expand(-1, self.label_size**2, -1)
        if any("gt_score_map" in sample for sample in samples):
            maps = self.stack_maps(samples).to(self.device)
            boxes = torch.tensor([sample.get("gt_crop_box", (0, 0, 1, 1)) for sample in samples])
            of_labels = scores
            scores, dense = self.crop_targets(maps, boxes.to(maps))
            if self.ground_truth:
                agree = scores.argmax(1, keepdim=True) == labels[:, None]
                share = torch.where(agree, 0.5, 0.9)
                scores = share * scores + (1 - share) * of_labels
        for sample, score, dense_score in zip(samples, scores, dense, strict=True):
            sample.set_gt_score(score)
            sample.set_field(dense_score, "gt_dense_score", dtype=Tensor)

    def stack_maps(self, samples: Sequence[DataSample]) -> Tensor:
        """Stack the label maps of a batch, (B, 2, k, S, S).

        Raises:
            InputError: A sample has none, their sizes differ, or an index is beyond the classes.
        """
        for sample in samples:
            path, maps = sample.get("img_path", "a sample"), sample.get("gt_score_map")
            first = samples[0].get("gt_score_map")
            if maps is None or first is None or maps.shape != first.shape:
                sizes = [None if each is None else tuple(each.shape) for each in (maps, first)]
                raise InputError(
                    f"the label maps of a batch differ in size: that of {path} is {sizes[0]}, that"
                    f" of {samples[0].get('img_path', 'another')} {sizes[1]}; make them anew with"
                    " tools/make_token_labels.py --overwrite"
                )
            if maps[1].max() >= self.num_classes:
                raise InputError(
                    f"the label map of {path} has class {int(maps[1].max())}, beyond the"
                    f" {self.num_classes} classes of data_preprocessor.num_classes: take the maps"
                    " of a teacher of the same classes"
                )
        return torch.stack([sample.gt_score_map for sample in samples])

    def crop_targets(self, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of a batch from its label maps.

        Args:
            maps: The largest logits (B, 0, k, S, S) and their classes (B, 1, k, S, S). Classes
                beyond them have the logit 0.
            boxes: The parts of the maps that the images show: left, top, right and bottom as
                shares of the map's sides, (B, 4).

        Returns:
            The targets of the images (B, K) and of their positions (B, N, K).
        """
        logits, classes = maps.unbind(1)
        size = maps.shape[-1]
        dense = maps.new_zeros(len(maps), self.num_classes, size, size)
        dense.scatter_(1, classes.long(), logits)
        if self.box_order == "released":
            boxes = boxes[:, [1, 0, 3, 2]]
        # In the coordinates of the cells' centres, which RoIAlign takes.
        corners = list((boxes * size - 0.5)[:, None])
        scores = roi_align(dense, corners, 1).flatten(1)
        positions = roi_align(dense, corners, self.label_size).flatten(2).transpose(1, 2)
        return self.smooth(scores.softmax(-1)), self.smooth(positions.softmax(-1))

    def smooth(self, targets: Tensor) -> Tensor:
        """Smooth the targets of maps, (..., K)."""
        floor = self.label_smooth_val / self.num_classes
        return targets * (1 - self.label_smooth_val + floor) + floor
