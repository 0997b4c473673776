"""Classifiers that score each position of their last map.

Importing this module needs MMPretrain.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models import TimmClassifier
from torch import Tensor

from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.checks import weights
from mmscalablevit.cli import config
from mmscalablevit.cli.building import build_model
from mmscalablevit.errors import FAILURES, UsageError, first_line
from mmscalablevit.models.heads import ClassAttentionHead

TIMM = "timm/"


def load_teacher(
    name: str, checkpoint: str, options: dict | None = None
) -> tuple[BaseModel, int | None]:
    """Build a classifier in evaluation mode and load its weights.

    Args:
        name: Config of a classifier of MMPretrain, or ``timm/NAME`` for one of timm.
        checkpoint: Its weights; for timm a file that timm reads, or ``pretrained`` for timm's own.
        options: Changes to the config.

    Returns:
        The classifier, and the side of the square images that it is tested with, if it is known.

    Raises:
        UsageError: It cannot be built.
        CheckpointError: The weights are of another model, or cannot be read.
    """
    size: int | None
    if name.startswith(TIMM):
        if checkpoint != "pretrained":
            weights.require_checkpoint(checkpoint)
        cfg, size = timm_config(name.removeprefix(TIMM), checkpoint)
        saved = None  # timm loads its own
    else:
        cfg = config.load_config(name, options)
        size = size_at_test(cfg)
        saved = weights.read_weights(checkpoint)
        if saved is None:
            raise UsageError(f"{checkpoint} is not fetched here: copy it to a local file")
    if cfg.get("default_scope") != "mmpretrain":
        raise UsageError(f"{name} is no classifier: its default_scope is not mmpretrain")
    try:
        model = build_model(cfg, pretrained=False)
    except FAILURES as error:
        raise UsageError(f"the teacher {name} cannot be built: {first_line(error)}") from error
    if saved is not None:
        expected, entries, fitting = weights.fitting_entries(model, saved)
        if len(fitting) < len(expected):
            raise CheckpointError(
                f"checkpoint {checkpoint} fills {len(fitting)} of the {len(expected)} entries of"
                f" {name}: name the config that it was trained with"
            )
        model.load_state_dict(entries, strict=False)
    return model.eval(), size


def timm_config(name: str, checkpoint: str) -> tuple[Config, int]:
    """Describe a classifier of timm through MMPretrain's wrapper.

    Returns:
        The config, and the side of the images that timm tests it with.

    Raises:
        UsageError: timm is not installed, or does not know the name.
    """
    try:
        from timm.models import get_pretrained_cfg
    except ImportError as error:
        raise UsageError(f"timm/{name} needs timm: pip install timm") from error
    settings = get_pretrained_cfg(name, allow_unregistered=False)
    if settings is None:
        raise UsageError(f"timm has no model {name}: timm.list_models() has their names")
    model = {
        "type": "TimmClassifier",
        "model_name": name,
        "pretrained": checkpoint == "pretrained",
        "checkpoint_path": "" if checkpoint == "pretrained" else checkpoint,
        "data_preprocessor": {
            "type": "ClsDataPreprocessor",
            "mean": [255 * value for value in settings.mean],
            "std": [255 * value for value in settings.std],
            "to_rgb": True,
        },
    }
    size = (settings.test_input_size or settings.input_size)[-1]
    return Config({"default_scope": "mmpretrain", "model": model}), size


def size_at_test(cfg: Config) -> int | None:
    """Side of the images that a config tests with; None if its pipeline does not say."""
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    for step in reversed(dataset.get("pipeline") or []):
        size = step.get("crop_size", step.get("scale"))
        sides = {size} if isinstance(size, int) else {*(size or ())}
        if len(sides) == 1:
            return sides.pop()
    return None


def score_positions(model: BaseModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Score each position of a classifier's last map, and the images.

    A head that pools first takes each position as a map of one pixel.

    Args:
        model: The classifier.
        images: As its preprocessing leaves them, (B, 3, H, H).

    Returns:
        Logits of the positions (B, S, S, K), and of the images (B, K).

    Raises:
        UsageError: The last map is no square, or the backbone pools it.
    """
    if isinstance(model, TimmClassifier):
        positions, logits = _score_in_timm(model.model, images)
    else:
        feats = model.backbone(images)
        feats = feats if isinstance(feats, tuple) else (feats,)
        if feats[-1].ndim != 4:
            raise UsageError(
                "the teacher's backbone gives no map: set model.backbone.out_type=featmap, or"
                " model.backbone.gap_before_final_norm=False for a ConvNeXt, by --cfg-options"
            )
        logits = _classify(model, feats)
        of_head = (
            model.head.logits(feats)[1] if isinstance(model.head, ClassAttentionHead) else None
        )
        if of_head is not None:
            positions = of_head
        else:
            tokens = feats[-1].permute(0, 2, 3, 1).flatten(0, 2)[..., None, None]
            positions = _classify(model, (tokens,)).unflatten(0, (len(images), -1))
    side = round(positions.shape[1] ** 0.5)
    if side**2 != positions.shape[1] or side == 1:
        raise UsageError(
            f"the teacher's last map has {positions.shape[1]} positions, which are no square of 2"
            " and more a side: choose another --img-size"
        )
    return positions.unflatten(1, (side, side)), logits


def _classify(model: Any, feats: tuple[Tensor, ...]) -> Tensor:
    """Logits of maps, (B, K)."""
    return model.head(model.neck(feats) if model.with_neck else feats)


def _score_in_timm(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the positions (B, N, K) and of the images (B, K), by a model of timm."""
    features = model.forward_features(images)
    if features.ndim == 3:  # tokens, the class token among the first of them
        tokens = features[:, model.num_prefix_tokens :].flatten(0, 1)[:, None]
    elif features.shape[1] == model.num_features:
        tokens = features.permute(0, 2, 3, 1).flatten(0, 2)[..., None, None]
    else:  # channels last
        tokens = features.flatten(0, 2)[:, None, None]
    positions = model.forward_head(tokens).unflatten(0, (len(images), -1))
    return positions, model.forward_head(features)


def deviation(positions: Tensor, logits: Tensor) -> float:
    """How far the positions' mean logits are from the images', in their standard deviation."""
    return float((positions.mean((1, 2)) - logits).abs().max() / logits.std())


def has_linear_head(model: BaseModel) -> bool:
    """Whether a mean and a linear layer are all that follows the last map."""
    head, neck = (type(getattr(model, name, None)).__name__ for name in ("head", "neck"))
    return head == "LinearClsHead" and neck == "GlobalAveragePooling"


def preprocess(model: BaseModel, batch: dict[str, Any]) -> Tensor:
    """Images ``inputs``, (3, H, H) in uint8, as the classifier takes them, on its device."""
    return model.data_preprocessor(batch)["inputs"]
