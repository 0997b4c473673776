"""What a benchmark measures: a model in a mode, at a batch and an image size."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmscalablevit.cli.config import load_config, parse_size
from mmscalablevit.errors import UsageError
from mmscalablevit.export import files
from mmscalablevit.files import find_configs

# Configs by the names that users type: those of this project, and MMPretrain's.
OURS = "classification/scalablevit/scalablevit-{}_8xb128_in1k.py"
NAMES = {
    **{f"scalablevit-{size[0]}": OURS.format(size) for size in ("small", "base", "large")},
    **{f"naive-{size[0]}": OURS.format(size) for size in ("small", "base", "large")},
    "swin-t": "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py",
    "swin-s": "mmpretrain::swin_transformer/swin-small_16xb64_in1k.py",
    "swin-b": "mmpretrain::swin_transformer/swin-base_16xb64_in1k.py",
    "twins-svt-s": "mmpretrain::twins/twins-svt-small_8xb128_in1k.py",
    "twins-svt-b": "mmpretrain::twins/twins-svt-base_8xb128_in1k.py",
    "resnet-50": "mmpretrain::resnet/resnet50_8xb32_in1k.py",
}
FLAGS: dict[str, tuple[str, Any]] = {
    "float32": ("dtype", "float32"),
    "bfloat16": ("dtype", "bfloat16"),
    "float16": ("dtype", "float16"),
    "eager": ("compiled", False),
    "compiled": ("compiled", True),
    "inference": ("training", False),
    "training": ("training", True),
    "model": ("backbone_only", False),
    "backbone": ("backbone_only", True),
    "checkpointed": ("checkpointed", True),
    "naive": ("naive", True),
}
OUR_TYPES = ("ScalableViT", "mmscalablevit.ScalableViT")
NUMBERS = ("batch", "jpegs", "workers")
OPTIONS = (*FLAGS, *(f"{key}=N" for key in NUMBERS), "size=HxW")
SYNTAX = f"MODEL[:OPTION,...] with the options {', '.join(OPTIONS)}"


@dataclass(frozen=True)
class Workload:
    """A model in one mode."""

    text: str  # as the user wrote it
    model: str  # a name out of NAMES, or a config
    size: tuple[int, int] = (224, 224)  # height and width
    batch: int = 8
    dtype: str = "float32"  # or what autocast computes in
    compiled: bool = False  # the backbone, as tools/train.py --compile does it
    training: bool = False  # forward, loss, backward, AdamW; else inference without gradients
    backbone_only: bool = False  # trained by the mean square of its outputs, without AdamW
    checkpointed: bool = False  # the backbone has with_cp
    naive: bool = False  # the plain implementation takes the place of ScalableViT
    # A step is a training epoch of so many images from JPEG files, through the config's own
    # pipeline; 0 for a batch that is on the device already.
    jpegs: int = 0
    workers: int = 0  # processes that read them; 0 for as many as the config has

    @property
    def label(self) -> str:
        """What tells the workload from others in one line."""
        if files.choose_format(self.model) is not None:
            return f"{Path(self.model).name} exported"
        options = [
            self.dtype,
            "compiled" if self.compiled else "eager",
            "training" if self.training else "inference",
            *(["backbone"] if self.backbone_only else []),
            *(["checkpointed"] if self.checkpointed else []),
            *(["naive"] if self.naive and self.model not in NAMES else []),
            *([f"{self.jpegs} JPEGs"] if self.jpegs else []),
            *([f"{self.workers} workers"] if self.workers else []),
        ]
        return f"{Path(self.model).stem} {' '.join(options)}"

    @property
    def images(self) -> int:
        """Images of a step."""
        return self.jpegs or self.batch

    @property
    def pixels(self) -> int:
        """Pixels of a step."""
        return self.images * self.size[0] * self.size[1]


def parse_workload(text: str, default: Workload) -> Workload:
    """Read ``MODEL[:OPTION,...]``.

    What the text does not say is as in ``default``.

    Raises:
        UsageError: The model or an option is unknown; near names are offered.
    """
    # A lone colon: paths of the frameworks' configs have two, as in mmpretrain::...
    model, *rest = re.split(r"(?<!:):(?!:)", text, maxsplit=1)
    changes: dict[str, Any] = {"text": text, "model": model}
    changes |= {"naive": True} if model.startswith("naive-") else {}
    for option in filter(None, "".join(rest).split(",")):
        key, _, value = option.partition("=")
        if option in FLAGS:
            field, setting = FLAGS[option]
            changes[field] = setting
        elif key == "size":
            changes["size"] = parse_size(value)
        elif key in NUMBERS and value.isdecimal() and int(value) > 0:
            changes[key] = int(value)
        else:
            near = difflib.get_close_matches(key, OPTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else SYNTAX
            raise UsageError(f"{text}: unknown option {option!r}; {hint}")
    workload = replace(default, **changes)
    read_config(workload)
    return workload


def read_config(workload: Workload) -> Config:
    """Read the config behind a workload's model.

    Raises:
        UsageError: There is none, or its backbone does not fit the workload.
    """
    path = NAMES.get(workload.model, workload.model)
    if files.choose_format(path) is not None:
        cfg = Config(files.read(Path(path)).metadata["config"])
        import_modules_from_strings(**cfg.get("custom_imports", {"imports": []}))
        if workload.training or workload.compiled or workload.dtype != "float32":
            raise UsageError(f"{workload.text}: a file runs as it was exported, for inference")
    elif "::" in path:
        try:
            cfg = Config.fromstring(f'_base_ = "{path}"', ".py")
        except (ImportError, OSError, ValueError) as error:
            raise UsageError(f"{workload.text}: cannot read the config {path}: {error}") from error
    elif path.endswith((".py", ".json", ".yaml", ".yml")):
        cfg = load_config(str(find_configs() / path) if workload.model in NAMES else path)
    else:
        near = difflib.get_close_matches(path, NAMES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"unknown model {path!r}{hint}\n  known are {', '.join(NAMES)}, and config files"
        )
    backbone = cfg.model.get("backbone", {})
    if workload.naive and str(backbone.get("type")) not in OUR_TYPES:
        raise UsageError(f"{workload.text}: naive takes the place of a ScalableViT, found none")
    if workload.naive and workload.checkpointed:
        raise UsageError(f"{workload.text}: the naive model has no checkpointing")
    if workload.jpegs and (cfg.get("default_scope") != "mmpretrain" or not workload.training):
        raise UsageError(f"{workload.text}: jpegs is for the training of a classifier")
    return cfg
