from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmscalablevit import ScalableViT
from mmscalablevit.checkpoints.reading import load_file
from mmscalablevit.errors import Finding
from mmscalablevit.preflight import examination as preflight
from mmscalablevit.preflight import training as preflight_training
from tests import tiny_projects

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")
pytest.importorskip("mmpretrain")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("project")
    tiny_projects.write(home)
    yield home
    shutil.rmtree(home)


@pytest.fixture
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setattr(preflight, "report", lambda: [])
    return project


def examine(config: str, **settings) -> dict[str, Finding]:
    """The findings by their names; of several with one name the worst."""
    rank = ("ok", "warn", "fail")
    findings: dict[str, Finding] = {}
    for finding in preflight.examine(preflight.Options(config, **settings)):
        known = findings.get(finding.name)
        if known is None or rank.index(finding.status) > rank.index(known.status):
            findings[finding.name] = finding
    return findings


def files(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in place.rglob("*")}


EVERYWHERE = {
    *("environment", "train data", "train classes", "train images", "val data", "val images"),
    *("model", "learning rate", "train step", "val step", "total time", "peak memory", "disk"),
}


@pytest.mark.parametrize(
    ("name", "more", "loss"),
    [
        ("classification", {"train labels", "val labels"}, math.log(3)),
        ("detection", {"train boxes", "val boxes"}, None),
        ("instances", {"train boxes", "val boxes"}, None),
        ("segmentation", {"train labels", "val labels"}, None),
    ],
)
def test_a_sound_config_of_each_kind(name: str, more: set[str], loss, home: Path) -> None:
    before = files(home)
    findings = examine(f"{name}.py")
    assert findings.keys() >= EVERYWHERE | more
    assert not [finding for finding in findings.values() if finding.status == "fail"]
    assert files(home) == before  # no work directory, no log, nothing
    assert "loss " in findings["train step"].found
    if loss:  # untrained, the classifier holds all classes equally likely
        stated = float(findings["train step"].found.rpartition("loss ")[2])
        assert stated == pytest.approx(loss, abs=0.3)


def test_what_is_counted(home: Path) -> None:
    findings = examine("detection.py", images=2)
    assert findings["train data"].found == "3 samples, 2 batches"
    assert findings["train images"].found == "2 of 3 read, 128x128"
    assert "1 iterations, 1 validations" in findings["total time"].found
    assert "RetinaNet" in findings["model"].found


@pytest.mark.parametrize(
    ("gpus", "options", "status", "words"),
    [
        (1, {}, "ok", "0.001 for 2 images"),
        (4, {}, "warn", "4 GPUs x 2 = 8 images"),
        (4, {"auto_scale_lr.enable": True}, "ok", "0.001 becomes 0.004"),
        (1, {"optim_wrapper.accumulative_counts": 4}, "warn", "4 steps accumulated"),
        (1, {"train_dataloader.batch_size": 1, "optim_wrapper.accumulative_counts": 2}, "ok", "2"),
        (1, {"auto_scale_lr": None}, "warn", "base_batch_size is not set"),
    ],
)
def test_the_learning_rate_is_for_a_batch(gpus, options, status, words, home: Path) -> None:
    cfg = Config.fromfile("classification.py")
    cfg.merge_from_dict(options)
    finding = preflight_training.learning_rate_finding(cfg, gpus)
    assert finding.status == status and words in finding.found
    assert bool(finding.remedy) == (status == "warn")
    if gpus == 4 and status == "warn":
        assert "--auto-scale-lr, which makes it 0.004" in finding.remedy


def schedule(hook: dict | None = None, **train_cfg) -> Config:
    return Config({"train_cfg": train_cfg, "default_hooks": {"checkpoint": hook}})


@pytest.mark.parametrize(
    ("cfg", "count"),
    [
        (schedule({"interval": 10, "max_keep_ckpts": 3}, max_epochs=300), 4),
        (schedule({"interval": 10}, max_epochs=300), 30),
        (schedule({"interval": 10, "max_keep_ckpts": 3}, max_epochs=12), 2),
        (schedule({"interval": 8, "max_keep_ckpts": 3, "save_best": "auto"}, max_iters=80), 5),
        (schedule({"interval": 1, "max_keep_ckpts": 1, "save_best": ["a", "b"]}, max_epochs=9), 4),
        (schedule(None, max_epochs=9), 1),
    ],
)  # fmt: skip
def test_checkpoints_that_lie_on_the_disk_together(cfg: Config, count: int) -> None:
    assert preflight_training.checkpoint_count(cfg) == count


@pytest.mark.parametrize(
    ("train_cfg", "validated", "count"),
    [
        ({"max_epochs": 12}, True, 12),
        ({"max_epochs": 40, "val_interval": 10}, True, 4),
        ({"max_epochs": 10, "val_begin": 5}, True, 6),
        ({"max_iters": 160000, "val_interval": 16000}, True, 10),
        ({"max_epochs": 12}, False, 0),
    ],
)
def test_validations_of_a_run(train_cfg: dict, validated: bool, count: int) -> None:
    cfg = Config({"train_cfg": train_cfg})
    if validated:
        cfg.val_cfg, cfg.val_dataloader = {}, {"dataset": {}}
    assert preflight_training.validations(cfg) == count


def test_iterations_are_shared_by_the_processes() -> None:
    loader = torch.utils.data.DataLoader(range(103), batch_size=10)
    assert preflight_training.iterations(schedule(max_epochs=3), loader, 1) == 33
    assert preflight_training.iterations(schedule(max_epochs=3), loader, 4) == 9
    assert preflight_training.iterations(schedule(max_iters=500), loader, 4) == 500


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0314, "31 ms"), (1.234, "1.23 s"), (90, "90 s"), (600, "10 min"), (9000, "2 h 30 min"),
     (200000, "2 d 8 h")],
)  # fmt: skip
def test_times_are_readable(seconds: float, text: str) -> None:
    assert preflight_training.duration(seconds) == text


@pytest.mark.slow
def test_a_checkpoint_is_as_large_as_was_said(home: Path, tmp_path: Path) -> None:
    from mmengine.runner import Runner

    cfg = Config.fromfile("detection.py")
    cfg.work_dir = str(tmp_path)
    model = Runner.from_cfg(cfg).train()
    saved = load_file(tmp_path / "iter_1.pth")
    assert saved["optimizer"]["state"]
    moments = sum(2 * 4 * p.numel() for p in model.parameters() if p.requires_grad)
    stated = preflight_training.checkpoint_bytes(cfg, model, moments)
    assert (tmp_path / "iter_1.pth").stat().st_size == pytest.approx(stated, rel=0.05)
    averaged = Config({"custom_hooks": [{"type": "mmengine.EMAHook"}]})
    more = preflight_training.checkpoint_bytes(averaged, model, moments) - stated
    assert more == pytest.approx(stated / 3, rel=0.05)


def test_a_full_disk_and_a_place_that_cannot_be_written(home: Path, monkeypatch, tmp_path) -> None:
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1000))
    finding = examine("classification.py")["disk"]
    assert finding.status == "fail" and "1 checkpoint of" in finding.found
    assert "max_keep_ckpts=1" in finding.remedy
    (tmp_path / "file").write_text("")
    finding = examine("classification.py", work_dir=str(tmp_path / "file" / "runs"))["disk"]
    assert finding.status == "fail" and "--work-dir" in finding.remedy


def test_a_loss_that_is_no_number(home: Path) -> None:
    options = {"model.head.loss.loss_weight": float("nan")}
    findings = examine("classification.py", cfg_options=options)
    assert findings["train step"].status == "fail" and "is nan" in findings["train step"].found
    assert "learning rate" in findings["train step"].remedy
    assert findings["val step"].status == "ok" and "total time" not in findings


def test_too_little_memory_says_what_to_lower() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    finding = preflight_training.step_failure("train step", error)
    assert finding.status == "fail" and "batch_size" in finding.remedy


def test_a_checkpoint_of_the_config_fills_it(home: Path, tmp_path: Path) -> None:
    path = tiny_projects.save_checkpoint(home / "classification.py", tmp_path / "own.pth")
    finding = examine("classification.py", checkpoint=str(path))["checkpoint"]
    assert finding.status == "ok" and "100.0% of the weights" in finding.found
    options = {"load_from": str(path), "model.head.num_classes": 3}
    assert examine("classification.py", cfg_options=options)["load_from"].status == "ok"


def test_pretrained_weights_fill_the_backbone_of_a_detector(home: Path, tmp_path: Path) -> None:
    """A classifier's weights fill all but the norms of the maps that it does not output."""
    cfg = Config.fromfile("detection.py")
    backbone = ScalableViT(cfg.model.backbone.arch)
    weights = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "classifier.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "classifier.pth")}
    options = {"model.backbone.init_cfg": {**init_cfg, "prefix": "backbone."}}
    finding = examine("detection.py", cfg_options=options)["weights"]
    assert finding.status == "ok" and "start anew" in finding.found
    total = len(backbone.state_dict()) + 4  # weight and bias of norm1 and norm2
    assert f"fills {total - 4} of the backbone's {total} entries" in finding.found
    options = {"model.backbone.init_cfg": {**init_cfg, "checkpoint": "absent.pth"}}
    findings = examine("detection.py", cfg_options=options)
    assert findings["weights"].status == "fail" and findings["train step"].status == "ok"


def test_problems_of_the_environment_come_first(home: Path, monkeypatch) -> None:
    problem = Finding("mmcv ops", "fail", "do not run", "pip install mmcv")
    fine = Finding("torch", "ok", "2.13.0")
    monkeypatch.setattr(preflight, "report", lambda: [fine, problem])
    first, *_ = preflight.examine(preflight.Options("absent.py"))
    assert first == Finding("environment", "fail", "mmcv ops: do not run", "pip install mmcv")
    monkeypatch.setattr(preflight, "report", lambda: [fine])
    first, config = preflight.examine(preflight.Options("absent.py"))
    assert first == Finding("environment", "ok", "torch 2.13.0")
    assert config.status == "fail" and "absent.py does not exist" in config.found


def test_rows_say_what_to_do_and_keep_paths_whole() -> None:
    path = "data/" + "long-name/" * 12 + "file.png"
    text = preflight.render(Finding("train images", "fail", f"{path} is missing", "copy it again"))
    lines = text.splitlines()
    assert lines[0].startswith("train images      FAIL")
    assert path in text and lines[-1].strip() == "-> copy it again"
    assert (
        preflight.render(Finding("disk", "ok", "fine", "nothing")) == "disk              ok    fine"
    )


def test_a_model_without_batches_is_examined_all_the_same(home: Path) -> None:
    options = {"train_dataloader.batch_size": 9, "train_dataloader.drop_last": True}
    findings = examine("classification.py", cfg_options=options)
    assert findings["train data"].status == "fail" and "train step" not in findings
    assert findings["val step"].status == "ok"


def test_a_checkpoint_of_other_names_is_told(home: Path, tmp_path: Path) -> None:
    path = tiny_projects.save_checkpoint(home / "classification.py", tmp_path / "own.pth")
    checkpoint = torch.load(path, weights_only=True)
    for trained, status in ((["cat", "dog", "hamster"], "ok"), (["dog", "cat", "hamster"], "fail")):
        checkpoint["meta"] = {"dataset_meta": {"classes": trained}}
        torch.save(checkpoint, path)
        findings = examine("classification.py", checkpoint=str(path))
        assert findings["checkpoint"].status == "ok"
        told = findings.get("checkpoint classes")
        assert (told is None) == (status == "ok")
    assert "numbers its classes otherwise than train_dataloader: 'dog' is label 0" in told.found
