"""Mistakes in configs, on the command line, of the machine, and from Python."""

from __future__ import annotations

import subprocess

import torch

from mmscalablevit import ScalableViT
from mmscalablevit.cli import config
from mmscalablevit.cli.distributed import set_up
from mmscalablevit.errors import UsageError
from tests.bad_input.place import Case, Messages, Place
from tests.in_process import TOOLS


def forward(*shape: int) -> Messages:
    """What the backbone raises for an image of a shape."""
    try:
        ScalableViT("small")(torch.rand(shape))
    except ValueError as error:
        return [str(error)]
    raise AssertionError("nothing was raised")


def too_many_gpus(place: Place) -> Messages:
    place.patch.setattr(torch.cuda, "is_available", lambda: True)
    place.patch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        place.patch.setenv(name, value)
    place.patch.setenv("MASTER_ADDR", "127.0.0.1")
    place.patch.setenv("MASTER_PORT", "29500")
    try:
        set_up(config.load_config("classification.py"), "pytorch")
    except UsageError as error:
        return [f"error: {error}"]
    raise AssertionError("nothing was raised")


def number_of_gpus(place: Place) -> Messages:
    command = ["bash", str(TOOLS / "dist_train.sh"), "classification.py", "all"]
    return [subprocess.run(command, capture_output=True, text=True).stderr]


def without_srun(place: Place) -> Messages:
    place.patch.delenv("SLURM_PROCID", raising=False)
    return place.train("classification.py", "--launcher", "slurm")


def half_precision(place: Place) -> Messages:
    place.patch.setattr("mmscalablevit.cli.amp.get_device", lambda: "cpu")
    return place.train("classification.py", "--amp", "float16")


CASES: dict[str, Case] = {
    "the path of the config is mistyped": lambda place: place.train("clasification.py"),
    "the config has a syntax error": lambda place: place.train_file("broken.py", "model = dict(\n"),
    "the config uses a name that is not defined": lambda place: place.train_file(
        "broken.py", "depth = 3\nmodel = dict(depth=dept)\n"
    ),
    "the config's base does not exist": lambda place: place.train_file(
        "orphan.py", "_base_ = './nowhere.py'\n"
    ),
    "the config imports a module that is not installed": lambda place: place.train_file(
        "imports.py",
        "custom_imports = dict(imports=['not_there'], allow_failed_imports=False)\n",
    ),
    "a base is named instead of a leaf config": lambda place: place.train_file(
        "schedule.py", "train_cfg = dict(max_epochs=1)\n"
    ),
    "a file that is no config is named": lambda place: place.train_file("notes.txt", ""),
    "`--cfg-options` names an entry that the config lacks": lambda place: place.accepted(
        place.train_with(modle__depth=3)
    ),
    "`--cfg-options` steps into what is no dict": lambda place: place.train_with(
        optim_wrapper__optimizer__lr__x=3
    ),
    "`--cfg-options` misspells a nested entry": lambda place: place.train_with(
        optim_wrapper__optimzer__lr=0.1
    ),
    "`--cfg-options` names what the config's parts have copied": lambda place: place.accepted(
        place.train_with(pipeline__1__scale="(64,64)")
    ),
    "`--cfg-options` adds a nested entry that no class asks for": lambda place: place.accepted(
        place.train_with(auto_scale_lr__no_such=3)
    ),
    "a setting that the type does not have, of a base config's other type": lambda place: (
        place.train_with(train_dataloader__dataset__split="train")
    ),
    "a type is misspelt": lambda place: place.train_with(val_evaluator__type="Acuracy"),
    "another runner is named": lambda place: place.train_with(runner_type="FlexibleRunner"),
    "a part lacks what it needs": lambda place: place.train_edited("in_channels=32, ", ""),
    "losses are recorded by a package that is not installed": lambda place: place.train_edited(
        "vis_backends=[]", 'vis_backends=[{"type": "ClearMLVisBackend"}]'
    ),
    "`--log` names a program that is not installed": lambda place: place.train(
        "classification.py", "--log", "clearml"
    ),
    "unknown arch": lambda place: place.train_with(model__backbone__arch="smal"),
    "an arch dict lacks a list": lambda place: place.train_edited("depths=[1, 1, 1, 1],", ""),
    "an arch dict has a misspelt key": lambda place: place.train_edited(
        "depths=", "depth=[1], depths="
    ),
    "the lists of an arch dict differ in length": lambda place: place.train_edited(
        "depths=[1, 1, 1, 1]", "depths=[1, 1, 1]"
    ),
    "an arch dict's heads do not divide its width": lambda place: place.train_edited(
        "num_heads=[1, 2, 3, 4]", "num_heads=[1, 3, 3, 4]"
    ),
    "an arch dict names an unknown attention": lambda place: place.train_edited(
        "depths=", "attentions=['SSA', 'XSA'], depths="
    ),
    "`out_indices` out of range": lambda place: place.train_with(
        model__backbone__out_indices="(4,)"
    ),
    "`frozen_stages` out of range": lambda place: place.train_with(
        model__backbone__frozen_stages=4
    ),
    "the backbone gets an argument that it does not have": lambda place: place.train_with(
        model__backbone__depth=12
    ),
    "images below 32 pixels": lambda place: place.train_edited("scale=(40, 40)", "scale=(20, 20)"),
    "images below 32 pixels, from Python": lambda place: forward(1, 3, 31, 64),
    "images with another number of channels": lambda place: place.train_with(
        model__backbone__in_channels=1
    ),
    "one image instead of a batch, from Python": lambda place: forward(3, 64, 64),
    "more GPUs asked for than there are": too_many_gpus,
    "the number of GPUs is no number": number_of_gpus,
    "`--launcher slurm` without srun": without_srun,
    "unknown `--eval`": lambda place: place.test(place.checkpoint(), "--eval", "acuracy"),
    "`--eval` of another task": lambda place: place.test(place.checkpoint(), "--eval", "mIoU"),
    "`--out` of another task": lambda place: place.test(place.checkpoint(), "--out", "results.csv"),
    "`--amp float16` without a GPU": half_precision,
    "`--auto-scale-lr` without a base batch size": lambda place: place.train(
        "classification.py", "--auto-scale-lr", "--cfg-options", "auto_scale_lr=None"
    ),
    "the work directory cannot be written to": lambda place: place.train(
        "classification.py", "--work-dir", place.file("file", b"") + "/below"
    ),
    "the loss becomes infinite or no number (NaN)": lambda place: place.train_edited(
        "loss=dict(", "loss=dict(loss_weight=float('nan'), "
    ),
    "`--resume` where there is nothing": lambda place: place.accepted(
        place.train("classification.py", "--resume")
    ),
}
