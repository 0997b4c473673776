"""Checkpoints that are missing, damaged, of another model, or dangerous."""

from __future__ import annotations

import argparse
import pickle
import shutil

import torch

from mmscalablevit import ScalableViT
from mmscalablevit.runner import resume
from tests.bad_input.place import Dangerous, Place, case

WIDER = {"model__backbone__arch__embed_dims": [8, 16, 24, 64], "model__head__in_channels": 64}


@case("the checkpoint is missing")
def missing(place: Place) -> str:
    place.checkpoint()
    return place.test("god.pth")


@case("the checkpoint is empty")
def empty(place: Place) -> str:
    (place.home / "empty.pth").write_bytes(b"")
    return place.test("empty.pth")


@case("the checkpoint is truncated")
def truncated(place: Place) -> str:
    content = place.checkpoint().read_bytes()
    (place.home / "short.pth").write_bytes(content[: len(content) // 2])
    return place.test("short.pth")


@case("the checkpoint is no checkpoint")
def text(place: Place) -> str:
    (place.home / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    return place.test("text.pth")


@case("the checkpoint holds no weights")
def no_weights(place: Place) -> str:
    torch.save({"epoch": 3, "losses": [0.1, 0.2]}, place.home / "log.pth")
    return place.test("log.pth")


@case("the checkpoint is a folder")
def folder(place: Place) -> str:
    (place.home / "folder.pth").mkdir()
    return place.test("folder.pth")


@case("the checkpoint is of another size of the backbone")
def other_size(place: Place) -> str:
    return place.test(place.checkpoint(**WIDER))


@case("the checkpoint is of another task")
def other_task(place: Place) -> str:
    return place.test(place.checkpoint("segmentation.py"))


@case("pictures of a checkpoint of another model")
def other_pictures(place: Place) -> str:
    path = place.checkpoint(**WIDER)
    return place.run("visualize.py", "predictions", "classification.py", path, "--out", "a.png")


@case("the checkpoint is of another size of the backbone, in the preflight")
def other_size_in_preflight(place: Place) -> str:
    path = place.checkpoint(**WIDER)
    return place.preflight("classification.py", path)


@case("`load_from` is of another backbone")
def other_backbone(place: Place) -> str:
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(3)}}, "resnet.pth")
    return place.train_with(load_from="resnet.pth")


@case("`load_from` is missing")
def missing_start(place: Place) -> str:
    return place.train_with(load_from="absent.pth")


def pretrain(place: Place, path: object) -> str:
    """Train from a backbone's weights."""
    init_cfg = f"dict(type='Pretrained', checkpoint={str(path)!r}, prefix='backbone.')"
    text = (place.home / "classification.py").read_text()
    text = text.replace('type="ScalableViT",', f'type="ScalableViT", init_cfg={init_cfg},')
    (place.home / "pretrained.py").write_text(text)
    return place.train("pretrained.py")


@case("the pretrained weights are missing")
def missing_pretrained(place: Place) -> str:
    return pretrain(place, "checkpoints/scalablevit-s_in1k.pth")


@case("the pretrained weights are of another size of the backbone")
def other_pretrained(place: Place) -> str:
    return pretrain(place, place.checkpoint(**WIDER))


@case("the pretrained weights are a released checkpoint, not converted")
def not_converted(place: Place) -> str:
    torch.save({"model": {"patch_embeds.0.proj.weight": torch.zeros(3)}}, "released.pth")
    return pretrain(place, "released.pth")


@case("a released checkpoint with its command line, not converted")
def not_converted_namespace(place: Place) -> str:
    torch.save({"model": {}, "args": argparse.Namespace(lr=0.1)}, place.home / "released.pth")
    return place.test("released.pth")


@case("a checkpoint that is converted already is converted")
def converted_already(place: Place) -> str:
    torch.save({"state_dict": {"backbone.stages.0.peg.conv.bias": torch.zeros(3)}}, "ours.pth")
    return place.run("convert_checkpoint.py", "ours.pth", "again.pth")


@case("a checkpoint of another model is converted")
def convert_resnet(place: Place) -> str:
    torch.save({"conv1.weight": torch.zeros(3)}, "resnet.pth")
    return place.run("convert_checkpoint.py", "resnet.pth", "again.pth")


@case("a released checkpoint that lacks an entry is converted")
def convert_incomplete(place: Place) -> str:
    torch.save({f"patch_embeds.{i}.proj.weight": torch.zeros(d, 3, 3, 3) for i, d in
                enumerate(ScalableViT("small").embed_dims)}, "half.pth")  # fmt: skip
    return place.run("convert_checkpoint.py", "half.pth", "again.pth")


@case("`--resume` from weights alone")
def resume_weights(place: Place) -> str:
    return place.train("classification.py", "--resume", place.checkpoint())


@case("the newest checkpoint is truncated, `--resume`")
def resume_past_damage(place: Place) -> str:
    place.accepted(place.train())
    good = place.home / "work_dirs/classification/epoch_1.pth"
    shutil.copy(good, good.with_name("epoch_2.pth"))
    good.with_name("epoch_2.pth").write_bytes(good.read_bytes()[:5000])
    notes = []
    place.patch.setattr(resume, "print_log", lambda message, **_: notes.append(message))
    place.train("classification.py", "--resume")
    return "accepted; " + "".join(notes)


@case("a pickle with code in it, in a test")
def code_in_test(place: Place) -> str:
    return place.harmless(place.test(place.dangerous()))


@case("a pickle with code in it, `--resume PATH`")
def code_in_resume(place: Place) -> str:
    return place.harmless(place.train("classification.py", "--resume", place.dangerous()))


@case("a pickle with code in it, `--resume`")
def code_in_resume_auto(place: Place) -> str:
    (place.home / "work_dirs/classification").mkdir(parents=True)
    place.dangerous("work_dirs/classification/epoch_1.pth")
    notes = []
    place.patch.setattr(resume, "print_log", lambda message, **_: notes.append(message))
    place.harmless(place.train("classification.py", "--resume"))
    return "".join(notes)


@case("a pickle with code in it, `load_from`")
def code_in_load_from(place: Place) -> str:
    return place.harmless(place.train_with(load_from=place.dangerous()))


@case("a pickle with code in it, pretrained weights")
def code_in_pretrained(place: Place) -> str:
    return place.harmless(pretrain(place, place.dangerous()))


@case("a pickle with code in it, converted")
def code_in_conversion(place: Place) -> str:
    return place.harmless(place.run("convert_checkpoint.py", place.dangerous(), "out.pth"))


@case("a pickle with code in it, in pictures")
def code_in_pictures(place: Place) -> str:
    arguments = ["predictions", "classification.py", place.dangerous(), "--out", "a.png"]
    return place.harmless(place.run("visualize.py", *arguments))


@case("a pickle with code in it, in feature maps")
def code_in_features(place: Place) -> str:
    image = next(place.home.glob("data/pets/train/*/*"))
    model = f"classification.py:{place.dangerous()}"
    return place.harmless(place.run("visualize.py", "features", image, model, "--out", "a.png"))


@case("a pickle with code in it, as annotations")
def code_in_annotations(place: Place) -> str:
    annotations = place.home / "data/pets/evil.pkl"
    annotations.write_bytes(pickle.dumps([Dangerous(place.home / "executed")]))
    changes = {"type": "BaseDataset", "ann_file": "evil.pkl"}
    changes = {f"train_dataloader__dataset__{key}": value for key, value in changes.items()}
    return place.harmless(place.train_with(**changes))


@case("a pickle with code in it, in the preflight")
def code_in_preflight(place: Place) -> str:
    return place.harmless(place.preflight("classification.py", place.dangerous()))
