"""A table of two small models on digits: launched, killed, launched again, collected."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmscalablevit.checkpoints import load_file
from mmscalablevit.cli import provenance
from mmscalablevit.reproduction import plan
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.runs import Found, State, examine
from mmscalablevit.runner.locking import current_holder
from tests.reproduction.making import ROOT

TOOLS = ROOT / "tools"

CLASSIFIER = f"""
_base_ = "{ROOT}/configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
arch = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4])
model = dict(backbone=dict(arch=arch), head=dict(in_channels=32))
train_dataloader = dict(
    batch_size=32, dataset=dict(data_root="data/classification", indices=320)
)
val_dataloader = dict(dataset=dict(data_root="data/classification"))
test_dataloader = val_dataloader
param_scheduler = []
train_cfg = dict(max_epochs=12, val_interval=3)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=1))
auto_scale_lr = dict(base_batch_size=32)
"""

SEGMENTOR = f"""
_base_ = "{ROOT}/configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"
arch = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4])
weights = dict(
    _delete_=True, type="Pretrained", checkpoint="checkpoints/none.pth", prefix="backbone."
)
model = dict(
    backbone=dict(arch=arch, init_cfg=weights),
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),
    decode_head=dict(in_channels=[16, 16, 16, 16], channels=16),
)
loader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root="data/segmentation")
)
train_dataloader = dict(batch_size=4, **loader)
val_dataloader = test_dataloader = loader
param_scheduler = []
train_cfg = dict(max_iters=30, val_interval=15)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=15))
auto_scale_lr = dict(base_batch_size=4)
"""

TABLES = """
tables:
  tiny:
    title: Tiny models on digits
    source: A test
    input_size: [32, 32]
    columns: {top1: {title: T, unit: "%"}, miou: {title: M, unit: "%"}, accuracy: {title: A}}
    rows:
      - name: Segmentor
        published: {miou: 50}
        runs:
          - config: segmentor.py
            needs: classifier.py
            metrics: {miou: {key: mIoU}}
            tests: [{name: again, arguments: [--eval, mIoU], metrics: {accuracy: {key: aAcc}}}]
      - name: Classifier
        published: {top1: 99}
        runs: [{config: classifier.py, metrics: {top1: {key: accuracy/top1}}}]
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A user's directory with two configs and a table of them."""
    (tmp_path / "classifier.py").write_text(CLASSIFIER)
    (tmp_path / "segmentor.py").write_text(SEGMENTOR)
    (tmp_path / "tables.yml").write_text(TABLES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHON", sys.executable)
    return tmp_path


def prepare_data() -> None:
    run(
        "prepare_digits.py", "--out", "data", "--size", "64", "--train-scenes", "24",
        "--val-scenes", "6", "--tasks", "classification", "segmentation",
    )  # fmt: skip


def run(tool: str, *words: object) -> subprocess.CompletedProcess:
    line = [sys.executable, str(TOOLS / tool), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


LAUNCH = ("reproduce.py", "launch", "tiny", "--tables", "tables.yml", "--work-dirs", "runs")


def trainings() -> list[plan.Training]:
    tables = load_tables(Path("tables.yml"))
    return plan.plan(tables, plan.select_rows(list(tables.values())), Path("runs"))


def examine_all() -> dict[str, Found]:
    """What there is of the runs, by their names."""
    return {training.name: examine(training) for training in trainings()}


def launch_and_kill() -> None:
    """Launch, and kill everything that this has started as soon as two epochs are done."""
    line = [sys.executable, str(TOOLS / LAUNCH[0]), *LAUNCH[1:]]
    first, *_ = trainings()
    with Path("log").open("w") as log:
        process = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)
    try:
        limit = time.monotonic() + 300
        while not (first.work_dir / "epoch_2.pth").exists():
            assert process.poll() is None and time.monotonic() < limit, Path("log").read_text()
            time.sleep(0.02)
        assert examine(first).state is State.RUNNING
    finally:
        holder = current_holder(first.work_dir)
        if holder:  # torchrun has put it into a group of its own
            os.kill(holder.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_table_is_launched_interrupted_launched_again_and_collected(place):
    prepare_data()
    launch_and_kill()
    interrupted = examine_all()
    assert interrupted["classifier"].state is State.INTERRUPTED
    assert interrupted["segmentor"].state is State.MISSING
    resumed_from = interrupted["classifier"].resumes_from
    epoch = int(resumed_from.removeprefix("epoch_").removesuffix(".pth"))
    assert 2 <= epoch < 12

    done = run(*LAUNCH)
    assert "classifier: was interrupted, goes on from its newest checkpoint" in done.stderr
    assert f"resumed epoch: {epoch}, iter: {10 * epoch}" in done.stdout
    files = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    done = run(*LAUNCH)
    assert "nothing is to be started" in done.stderr and done.stdout == ""
    assert files == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}

    runs = examine_all()
    classifier, segmentor = runs["classifier"], runs["segmentor"]
    assert len(classifier.origins) == 2 and not classifier.problems and not classifier.changes
    assert [validation.step for validation in classifier.log.validations] == [3, 6, 9, 12]
    weights = Path("runs/classifier/epoch_12.pth")
    assert f"model.backbone.init_cfg.checkpoint={weights}" in segmentor.origins[0]["command"]
    assert segmentor.origins[0]["commit"] == provenance.code_version()["commit"]
    assert not segmentor.changes  # from where the weights come is no change of the config

    run("reproduce.py", "collect", "tiny", "--tables", "tables.yml", "--work-dirs", "runs")
    with Path("runs/tables/table_tiny.csv").open() as file:
        figures = {line["column"]: line for line in csv.DictReader(file) if line["ours"]}
    assert {line["state"] for line in figures.values()} == {"done"}
    run("test.py", "classifier.py", weights, "--work-dir", "apart")
    top1 = json.loads(Path("apart/metrics.json").read_text())["metrics"]["accuracy/top1"]
    assert float(figures["top1"]["ours"]) == pytest.approx(top1, abs=1e-4)
    assert float(figures["top1"]["difference"]) == pytest.approx(top1 - 99, abs=1e-4)
    assert top1 > 15  # ten classes
    metrics = json.loads(Path("runs/segmentor/again/metrics.json").read_text())["metrics"]
    assert float(figures["miou"]["ours"]) == pytest.approx(metrics["mIoU"], abs=1e-2)
    assert float(figures["accuracy"]["ours"]) == pytest.approx(metrics["aAcc"], abs=1e-4)
    assert starts_from(Path("runs/segmentor"), weights)


def starts_from(work_dir: Path, weights: Path) -> bool:
    """Whether a run's weights are near those that it was to start from, and not near others."""
    trained = load_file(work_dir / "iter_30.pth")["state_dict"]
    start = load_file(weights)["state_dict"]
    names = [name for name in trained if name in start and name.startswith("backbone.stages.3")]
    matrices = [name for name in names if trained[name].ndim == 2]
    assert matrices
    return all((trained[name] - start[name]).norm() < 0.5 * start[name].norm() for name in matrices)


@pytest.mark.slow
def test_a_second_training_in_the_same_directory_is_refused(place):
    """The lock is taken by tools/train.py itself, so it holds however training is started."""
    hold = """
import time
from mmscalablevit.runner.locking import lock_work_dir
with lock_work_dir("runs"):
    print("locked", flush=True)
    time.sleep(300)
"""
    prepare_data()
    Path("runs").mkdir()
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            line = [sys.executable, TOOLS / "train.py", "classifier.py", "--work-dir", "runs"]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
        finally:
            other.kill()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: process {other.pid} on" in done.stderr
    assert not list(Path("runs").glob("2*"))
