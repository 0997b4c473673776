"""Mistakes in configs and on the command line."""

from __future__ import annotations

import subprocess

import torch

from mmscalablevit import ScalableViT
from mmscalablevit.cli import config
from mmscalablevit.cli.distributed import set_up
from tests.bad_input.place import TOOLS, Place, case


@case("the path of the config is mistyped")
def mistyped(place: Place) -> str:
    return place.train("clasification.py")


@case("the config has a syntax error")
def syntax_error(place: Place) -> str:
    (place.home / "broken.py").write_text("model = dict(\n")
    return place.train("broken.py")


@case("the config uses a name that is not defined")
def undefined_name(place: Place) -> str:
    (place.home / "broken.py").write_text("depth = 3\nmodel = dict(depth=dept)\n")
    return place.train("broken.py")


@case("the config's base does not exist")
def missing_base(place: Place) -> str:
    (place.home / "orphan.py").write_text("_base_ = './nowhere.py'\n")
    return place.train("orphan.py")


@case("the config imports a module that is not installed")
def missing_module(place: Place) -> str:
    imports = "custom_imports = dict(imports=['not_there'], allow_failed_imports=False)\n"
    (place.home / "imports.py").write_text(imports + "model = dict()\n")
    return place.train("imports.py")


@case("a base is named instead of a leaf config")
def base_config(place: Place) -> str:
    (place.home / "schedule.py").write_text("train_cfg = dict(max_epochs=1)\n")
    return place.train("schedule.py")


@case("a file that is no config is named")
def no_config(place: Place) -> str:
    (place.home / "notes.txt").write_text("")
    return place.train("notes.txt")


@case("`--cfg-options` names an entry that the config lacks")
def unknown_option(place: Place) -> str:
    notes = []
    place.patch.setattr(config, "print_log", lambda message, **_: notes.append(message))
    return place.accepted(place.train_with(modle__depth=3)) + "; " + "".join(notes)


@case("`--cfg-options` steps into what is no dict")
def wrong_option(place: Place) -> str:
    return place.train_with(optim_wrapper__optimizer__lr__x=3)


@case("unknown arch")
def unknown_arch(place: Place) -> str:
    return place.train_with(model__backbone__arch="smal")


def train_with_text(place: Place, old: str, new: str) -> str:
    """Train with a config in whose text something is replaced."""
    text = (place.home / "classification.py").read_text()
    assert old in text
    (place.home / "own.py").write_text(text.replace(old, new))
    return place.train("own.py")


@case("an arch dict lacks a list")
def arch_lacks_a_list(place: Place) -> str:
    return train_with_text(place, "depths=[1, 1, 1, 1],", "")


@case("an arch dict has a misspelt key")
def arch_misspelt(place: Place) -> str:
    return train_with_text(place, "depths=", "depth=[1], depths=")


@case("the lists of an arch dict differ in length")
def arch_lengths(place: Place) -> str:
    return train_with_text(place, "depths=[1, 1, 1, 1]", "depths=[1, 1, 1]")


@case("an arch dict's heads do not divide its width")
def arch_heads(place: Place) -> str:
    return train_with_text(place, "num_heads=[1, 2, 3, 4]", "num_heads=[1, 3, 3, 4]")


@case("an arch dict names an unknown attention")
def arch_attention(place: Place) -> str:
    return train_with_text(place, "depths=", "attentions=['SSA', 'XSA'], depths=")


@case("`out_indices` out of range")
def out_indices(place: Place) -> str:
    return place.train_with(model__backbone__out_indices="(4,)")


@case("`frozen_stages` out of range")
def frozen_stages(place: Place) -> str:
    return place.train_with(model__backbone__frozen_stages=4)


@case("the backbone gets an argument that it does not have")
def unknown_argument(place: Place) -> str:
    return place.train_with(model__backbone__depth=12)


@case("images below 32 pixels")
def small_images(place: Place) -> str:
    return train_with_text(place, "scale=(40, 40)", "scale=(20, 20)")


@case("images below 32 pixels, from Python")
def small_tensor(place: Place) -> str:
    return str(raised(lambda: ScalableViT("small")(torch.rand(1, 3, 31, 64))))


@case("images with another number of channels")
def channels(place: Place) -> str:
    return place.train_with(model__backbone__in_channels=1)


@case("one image instead of a batch, from Python")
def no_batch(place: Place) -> str:
    return str(raised(lambda: ScalableViT("small")(torch.rand(3, 64, 64))))


def raised(function) -> BaseException:
    """The ValueError that a call raises."""
    try:
        function()
    except ValueError as error:
        return error
    raise AssertionError("nothing was raised")


@case("more GPUs asked for than there are")
def too_many_gpus(place: Place) -> str:
    place.patch.setattr(torch.cuda, "is_available", lambda: True)
    place.patch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        place.patch.setenv(name, value)
    place.patch.setenv("MASTER_ADDR", "127.0.0.1")
    place.patch.setenv("MASTER_PORT", "29500")
    cfg = config.load_config("classification.py")
    try:
        set_up(cfg, "pytorch")
    except config.UsageError as error:
        return f"error: {error}"
    raise AssertionError("nothing was raised")


@case("the number of GPUs is no number")
def no_number(place: Place) -> str:
    command = ["bash", str(TOOLS / "dist_train.sh"), "classification.py", "all"]
    return subprocess.run(command, capture_output=True, text=True).stderr


@case("`--launcher slurm` without srun")
def without_srun(place: Place) -> str:
    place.patch.delenv("SLURM_PROCID", raising=False)
    return place.train("classification.py", "--launcher", "slurm")


@case("unknown `--eval`")
def unknown_metric(place: Place) -> str:
    return place.test(place.checkpoint(), "classification.py", "--eval", "acuracy")


@case("`--eval` of another task")
def other_metric(place: Place) -> str:
    return place.test(place.checkpoint(), "classification.py", "--eval", "mIoU")


@case("`--out` of another task")
def other_output(place: Place) -> str:
    return place.test(place.checkpoint(), "classification.py", "--out", "results.csv")


@case("`--amp float16` without a GPU")
def half_precision(place: Place) -> str:
    place.patch.setattr("mmscalablevit.cli.amp.get_device", lambda: "cpu")
    return place.train("classification.py", "--amp", "float16")


@case("`--auto-scale-lr` without a base batch size")
def no_base_batch(place: Place) -> str:
    option = "auto_scale_lr=None"
    return place.train("classification.py", "--auto-scale-lr", "--cfg-options", option)


@case("the work directory cannot be written to")
def unwritable(place: Place) -> str:
    (place.home / "file").write_text("")
    return place.train("classification.py", "--work-dir", "file/below")


@case("the loss becomes infinite or no number (NaN)")
def nan_loss(place: Place) -> str:
    return train_with_text(place, "loss=dict(", "loss=dict(loss_weight=float('nan'), ")


@case("`--resume` where there is nothing")
def nothing_to_resume(place: Place) -> str:
    seen = place.train("classification.py", "--resume")
    return place.accepted(seen) + "; " + seen
