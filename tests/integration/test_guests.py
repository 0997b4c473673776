"""What the frameworks run inside a training: metrics that fork, and MMEngine's other runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import FlexibleRunner

from tests import tiny_projects
from tests.in_process import TOOLS, process_kept
from tests.tools.test_train_test import free_port

pytest.importorskip("mmdet")

# VOCMetric makes a pool of processes, CocoMetric processes that it starts itself.
FORKING = """
_base_ = "detection.py"
val_evaluator = [
    dict(type="VOCMetric", metric="mAP", eval_mode="11points"),
    dict(type="CocoMetric", metric="bbox", use_mp_eval=True,
         ann_file="data/digits/detection/annotations/instances_val2017.json"),
]
model = dict(test_cfg=dict(score_thr=0.0))
train_cfg = dict(max_iters=2)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("guests")
    tiny_projects.write(home)
    (home / "forking.py").write_text(FORKING)
    return home


def children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_metrics_of_mmdet_may_fork(home: Path, killed: bool) -> None:
    """Killed while its children run, a training is saved, and none of them is left."""
    command = [sys.executable, str(TOOLS / "train.py"), "forking.py", "--work-dir", f"run{killed}"]
    with open(home / f"{killed}.txt", "w+") as shown:
        run = subprocess.Popen(command, cwd=home, stdout=shown, stderr=shown)
        first, forked = home / f"run{killed}/iter_1.pth", list[str]()
        try:
            while run.poll() is None and not (killed and forked):
                if first.exists():  # the validation follows
                    forked = forked or children(run.pid)
                time.sleep(0.002)
            if killed:
                os.kill(run.pid, signal.SIGTERM)
            code = run.wait(timeout=120)
        finally:
            run.kill()
        shown.seek(0)
        text = shown.read()
    assert forked and code == (143 if killed else 0), text[-3000:]
    assert not any(Path(f"/proc/{child}").exists() for child in forked)
    assert "Traceback" not in text
    assert list((home / f"run{killed}").glob("iter_*.pth"))
    if not killed:
        assert "pascal_voc/mAP" in text and "coco/bbox_mAP" in text


@pytest.mark.slow
def test_mmengines_other_runner_trains_as_the_refusal_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mmpretrain")
    monkeypatch.chdir(home)
    (home / "flexible.py").write_text(
        '_base_ = "classification.py"\nrunner_type = "FlexibleRunner"\nwork_dir = "flexible"\n'
        'strategy = dict(type="SingleDeviceStrategy")\nenv_cfg = dict(cudnn_benchmark=False)\n'
    )
    with process_kept():
        FlexibleRunner.from_cfg(Config.fromfile("flexible.py")).train()
    assert (home / "flexible/epoch_1.pth").is_file()


@pytest.mark.slow
def test_two_processes_train_a_backbone_whose_last_stage_nothing_reads(home: Path) -> None:
    """From weights that have the stage; parameters without a gradient would stop the training."""
    pytest.importorskip("mmpretrain")
    tiny_projects.save_checkpoint(home / "classification.py", home / "whole.pth")
    init_cfg = 'dict(type="Pretrained", checkpoint="whole.pth", prefix="backbone.")'
    (home / "third.py").write_text(
        f'_base_ = "classification.py"\nmodel = dict(head=dict(in_channels=24), backbone=dict('
        f"out_indices=(2,), init_cfg={init_cfg}))\ntrain_cfg = dict(max_epochs=2)\n"
    )
    environment = {**os.environ, "PYTHON": sys.executable, "PORT": free_port()}
    command = ["bash", str(TOOLS / "dist_train.sh"), "third.py", "2"]
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert (home / "work_dirs/third/epoch_2.pth").is_file()
