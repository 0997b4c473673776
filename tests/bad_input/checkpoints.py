"""Checkpoints that are missing, damaged, of another model, or dangerous."""

from __future__ import annotations

import pickle
import shutil

import torch

from mmscalablevit import ScalableViT
from tests.bad_input.place import Case, Dangerous, Messages, Place

WIDER = {"model__backbone__arch__embed_dims": [8, 16, 24, 64], "model__head__in_channels": 64}
RESNET = {"conv1.weight": torch.zeros(3)}
FIRST_OF_RELEASED = "patch_embeds.0.proj.weight"


def missing(place: Place) -> Messages:
    place.checkpoint()
    return place.test("god.pth")


def truncated(place: Place) -> Messages:
    content = place.checkpoint().read_bytes()
    return place.test(place.file("short.pth", content[: len(content) // 2]))


def folder(place: Place) -> Messages:
    (place.home / "folder.pth").mkdir()
    return place.test("folder.pth")


def convert(place: Place, name: str, content: object) -> Messages:
    return place.run("convert_checkpoint.py", place.saved(name, content), "again.pth")


def convert_incomplete(place: Place) -> Messages:
    widths = ScalableViT("small").embed_dims
    patches = {
        f"patch_embeds.{i}.proj.weight": torch.zeros(width, 3, 3, 3)
        for i, width in enumerate(widths)
    }
    return convert(place, "half.pth", patches)


def resume_past_damage(place: Place) -> Messages:
    place.accepted(place.train())
    good = place.home / "work_dirs/classification/epoch_1.pth"
    shutil.copy(good, good.with_name("epoch_2.pth"))
    good.with_name("epoch_2.pth").write_bytes(good.read_bytes()[:5000])
    return place.accepted(place.train("classification.py", "--resume"))


def resume_danger(place: Place) -> Messages:
    (place.home / "work_dirs/classification").mkdir(parents=True)
    place.dangerous("work_dirs/classification/epoch_1.pth")
    return place.harmless(place.train("classification.py", "--resume"))


def picture(place: Place, checkpoint: object) -> Messages:
    arguments = ("predictions", "classification.py", checkpoint, "--out", "a.png")
    return place.run("visualize.py", *arguments)


def features(place: Place, checkpoint: object) -> Messages:
    model = f"classification.py:{checkpoint}"
    return place.run("visualize.py", "features", place.image, model, "--out", "a.png")


def dangerous_annotations(place: Place) -> Messages:
    place.file("data/pets/evil.pkl", pickle.dumps([Dangerous(place.home / "executed")]))
    dataset = "train_dataloader__dataset__"
    changes = {f"{dataset}type": "BaseDataset", f"{dataset}ann_file": "evil.pkl"}
    return place.harmless(place.train_with(**changes))


CASES: dict[str, Case] = {
    "the checkpoint is missing": missing,
    "the checkpoint is empty": lambda place: place.test(place.file("empty.pth", b"")),
    "the checkpoint is truncated": truncated,
    "the checkpoint is no checkpoint": lambda place: place.test(
        place.file("text.pth", b"version https://git-lfs.github.com/spec/v1\n")
    ),
    "the checkpoint holds no weights": lambda place: place.test(
        place.saved("log.pth", {"epoch": 3, "losses": [0.1, 0.2]})
    ),
    "the checkpoint is a folder": folder,
    "the checkpoint is of another size of the backbone": lambda place: place.test(
        place.checkpoint(**WIDER)
    ),
    "the checkpoint is of another size of the backbone, in the preflight": lambda place: (
        place.preflight(checkpoint=place.checkpoint(**WIDER))
    ),
    "the checkpoint is of another task": lambda place: place.test(
        place.checkpoint("segmentation.py")
    ),
    "pictures of a checkpoint of another model": lambda place: picture(
        place, place.checkpoint(**WIDER)
    ),
    "`load_from` is missing": lambda place: place.train_with(load_from="absent.pth"),
    "`load_from` is of another backbone": lambda place: place.train_with(
        load_from=place.saved(
            "resnet.pth", {"state_dict": {"backbone.conv1.weight": torch.ones(3)}}
        )
    ),
    "`load_from` is nearly a released checkpoint": lambda place: place.train_with(
        load_from=place.saved("released.pth", {FIRST_OF_RELEASED: torch.zeros(3)})
    ),
    "the pretrained weights are missing": lambda place: place.train_from(
        "checkpoints/scalablevit-s_in1k.pth"
    ),
    "the pretrained weights are of another size of the backbone": lambda place: place.train_from(
        place.checkpoint(**WIDER)
    ),
    "the pretrained weights are nearly a released checkpoint": lambda place: place.train_from(
        place.saved("released.pth", {"model": {FIRST_OF_RELEASED: torch.zeros(3)}})
    ),
    "a checkpoint that is converted already is converted": lambda place: convert(
        place, "ours.pth", {"state_dict": {"backbone.stages.0.peg.conv.bias": torch.zeros(3)}}
    ),
    "a checkpoint of another model is converted": lambda place: convert(
        place, "resnet.pth", RESNET
    ),
    "a released checkpoint that lacks an entry is converted": convert_incomplete,
    "`--resume` from weights alone": lambda place: place.train(
        "classification.py", "--resume", place.checkpoint()
    ),
    "the newest checkpoint is truncated, `--resume`": resume_past_damage,
    "a pickle with code in it, in a test": lambda place: place.harmless(
        place.test(place.dangerous())
    ),
    "a pickle with code in it, `--resume PATH`": lambda place: place.harmless(
        place.train("classification.py", "--resume", place.dangerous())
    ),
    "a pickle with code in it, `--resume`": resume_danger,
    "a pickle with code in it, `load_from`": lambda place: place.harmless(
        place.train_with(load_from=place.dangerous())
    ),
    "a pickle with code in it, pretrained weights": lambda place: place.harmless(
        place.train_from(place.dangerous())
    ),
    "a pickle with code in it, converted": lambda place: place.harmless(
        place.run("convert_checkpoint.py", place.dangerous(), "out.pth")
    ),
    "a pickle with code in it, in pictures": lambda place: place.harmless(
        picture(place, place.dangerous())
    ),
    "a pickle with code in it, in feature maps": lambda place: place.harmless(
        features(place, place.dangerous())
    ),
    "a pickle with code in it, as annotations": dangerous_annotations,
    "a pickle with code in it, in the preflight": lambda place: place.harmless(
        place.preflight(checkpoint=place.dangerous())
    ),
}
