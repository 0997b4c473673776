"""``train.py`` and ``test.py`` on a tiny data set, and several processes beside one."""

from __future__ import annotations

import functools
import json
import os
import pickle
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmscalablevit.checkpoints import load_file
from mmscalablevit.datasets import prepare_digits
from tests.in_process import run_tool
from tests.leaves import LEAVES
from tests.tiny_projects import BASES, SHORT, save_checkpoint

from .fault_runs import free_port, write_configs, write_data
from .fault_runs import run as start

# An epoch, and no validation, of a model that is soon compiled: a stage with both attentions.
SHORT_TRAINING = """
_base_ = "epochs.py"
arch = dict(_delete_=True, embed_dims=[8], depths=[2], num_heads=[1], channel_ratios=[1],
            spatial_ratios=[4])
model = dict(backbone=dict(arch=arch, out_indices=(0,)), head=dict(in_channels=8))
train_cfg = dict(max_epochs=1, val_begin=2)
"""
EPOCHS = ["--cfg-options", "train_cfg.max_epochs=2"]
ODD = ["--cfg-options", "test_dataloader.dataset.indices=9"]  # of 22 images


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a user's own with a data set of two colours and configs."""
    root = tmp_path_factory.mktemp("user")
    write_data(root)
    write_configs(root)
    return root


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That directory as the current one."""
    monkeypatch.chdir(home)
    return home


def run(tool: str, *arguments: object) -> str:
    """Run a tool within this process to its good end, and return what it shows."""
    ending = run_tool(tool, *arguments)
    assert ending.code == 0, ending.message
    return ending.shown


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    """The work directory of a run of two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run("train.py", "epochs.py", "--work-dir", "trained", *EPOCHS)
    return home / "trained"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)["state_dict"]


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_mistake_ends_the_process_with_a_message_and_no_traceback(place: Path) -> None:
    """Of all others, ``tests/test_bad_input.py`` makes sure within its process."""
    shown = " ".join(start(place, "train.py", "epoch.py", expect=1).split())
    assert "error: config epoch.py does not exist did you mean epochs.py?" in shown
    assert "Traceback" not in shown


@pytest.mark.slow
def test_train_then_test_with_results_and_pictures(place: Path, trained: Path) -> None:
    shown = run(
        "test.py", "epochs.py", trained / "epoch_2.pth", "--eval", "ACCURACY",
        "--work-dir", "tested", "--out", "results/r.json", "--show-dir", "pictures",
    )  # fmt: skip
    report = read(place / "tested" / "metrics.json")
    assert report["checkpoint"] == str(trained / "epoch_2.pth")
    results = read(place / "results" / "r.json")
    assert len(results) == 22
    right = sum(result["predicted_label"] == result["true_label"] for result in results)
    assert report["metrics"]["accuracy/top1"] == pytest.approx(100 * right / 22, abs=1e-3)
    assert shown.splitlines()[-1].startswith("accuracy/top1: ")
    assert {Path(result["file"]).parent.name for result in results} == {
        f"colour{result['true_label']}" for result in results
    }
    pictures = sorted((place / "pictures").glob("*/*.png"))
    assert len(pictures) == 22  # also of images with the same name in different folders
    red = np.asarray(Image.open(place / "pictures" / "colour0" / "1.png"))[-20:]
    assert red[..., 0].mean() > red[..., 2].mean() + 80 and min(red.shape[1:2]) >= 224


@pytest.mark.slow
def test_augmented_test_in_bfloat16_dumps_samples(place: Path, trained: Path) -> None:
    run(
        "test.py", "epochs.py", trained / "epoch_2.pth", "--aug-test", "--amp", *ODD,
        "--out", "r.pkl", "--work-dir", "augmented", "--show-dir", "augmented/pictures",
    )  # fmt: skip
    assert len(pickle.loads((place / "r.pkl").read_bytes())) == 9
    assert len(list((place / "augmented" / "pictures").glob("*/*.png"))) == 9


@pytest.mark.slow
def test_averaged_weights_in_mixed_precision_are_what_a_test_uses(place: Path) -> None:
    run(
        "train.py", "epochs.py", "--work-dir", "averaged", "--ema", "--amp", "bfloat16",
        "--auto-scale-lr", "--seed", "7", "--deterministic", "--resume", "auto",
        *EPOCHS, "auto_scale_lr.base_batch_size=12", "param_scheduler=[]",
    )  # fmt: skip
    saved = load_file(place / "averaged" / "epoch_2.pth")
    name = "backbone.stages.0.blocks.0.norm1.weight"
    raw, average = saved["ema_state_dict"][f"module.{name}"], saved["state_dict"][name]
    assert not torch.equal(raw, average) and average.dtype == torch.float32
    assert saved["meta"]["seed"] == 7
    assert saved["optimizer"]["param_groups"][0]["lr"] == pytest.approx(2e-3 * 6 / 12)
    run("test.py", "epochs.py", "averaged/epoch_2.pth", "--work-dir", "averaged")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_backbone_trains_and_tests_as_the_plain_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "short.py").write_text(SHORT_TRAINING)
    # what Inductor makes of a backbone, the tests of models compare
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    run("train.py", "short.py", "--work-dir", "plain")
    run("train.py", "short.py", "--work-dir", "compiled", "--compile")
    plain, compiled = (weights(place / name / "epoch_1.pth") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, msg=name)
    scores = []
    for name, option in (("plain", []), ("compiled", ["--compile"])):
        out = ["--out", f"{name}.pkl", "--work-dir", name]
        run("test.py", "short.py", "plain/epoch_1.pth", *out, *option)
        results = pickle.loads((place / f"{name}.pkl").read_bytes())
        scores.append(torch.stack([result["pred_score"] for result in results]))
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_test_as_one_does(place: Path, trained: Path) -> None:
    line = ["epochs.py", trained / "epoch_2.pth"]
    rest = ["--eval", "accuracy", *ODD]
    run("test.py", *line, "--work-dir", "of1", "--out", "1.json", *rest)
    several = [*line, 2, "--work-dir", "of2", "--out", "2.json", *rest]
    start(place, "dist_test.sh", *several, PORT=free_port())
    one, two = read(place / "1.json"), read(place / "2.json")
    assert [r["file"] for r in two] == [r["file"] for r in one]
    assert [r["score"] for r in two] == pytest.approx([r["score"] for r in one], abs=1e-5)
    reports = [read(place / name / "metrics.json") for name in ("of1", "of2")]
    assert reports[0]["metrics"] == reports[1]["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["instances", "segmentation"])
def test_two_processes_predict_scenes_as_one_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = "segmentation" if name == "segmentation" else "detection"
    prepare_digits(tmp_path / "data/digits", tasks=[task], num_train=2, num_val=5)
    (tmp_path / f"{name}.py").write_text(SHORT.format(base=str(LEAVES[BASES[name]])))
    checkpoint = save_checkpoint(tmp_path / f"{name}.py", tmp_path / "x.pth")
    options = []
    if name == "instances":  # where nothing is learned yet, scores are low
        options = ["--cfg-options", "model.test_cfg.rcnn.score_thr=0.0"]
    line = [f"{name}.py", checkpoint, "--work-dir", "1", "--out", "1.pkl", *options]
    run("test.py", *line)
    line[2:6] = [2, "--work-dir", "2", "--out", "2.pkl"]
    start(tmp_path, "dist_test.sh", *line, PORT=free_port())
    one, two = (pickle.loads((tmp_path / f"{number}.pkl").read_bytes()) for number in (1, 2))
    assert len(one) == len(two) == 5
    for first, second in zip(one, two, strict=True):
        assert first["img_path"] == second["img_path"]
        if name == "segmentation":
            assert torch.equal(first["pred_sem_seg"]["data"], second["pred_sem_seg"]["data"])
            continue
        first, second = first["pred_instances"], second["pred_instances"]
        assert len(first["scores"]) > 0
        torch.testing.assert_close(first["scores"], second["scores"])
        assert torch.equal(first["labels"], second["labels"])
    reports = [read(tmp_path / f"{number}/metrics.json")["metrics"] for number in (1, 2)]
    assert reports[0] == pytest.approx(reports[1], abs=1e-3)
    assert name == "instances" or reports[0]["mIoU"] > 0


@pytest.mark.slow
def test_slurm_starts_the_ranks(place: Path, tmp_path: Path) -> None:
    """A stand-in for srun records its line and starts the ranks with Slurm's variables."""
    srun = tmp_path / "srun"
    srun.write_text(
        "#!/bin/bash\n"
        f'printf "%s\\n" "$@" >"{tmp_path}/line"\n'
        "while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && n=${1#--ntasks=}; shift; done\n"
        f"export SLURM_NTASKS=$n SLURM_NNODES=1 SLURM_JOB_ID= MASTER_PORT={free_port()}\n"
        'for ((i = 1; i < n; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & done\n'
        'SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait\n'
    )
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "GPUS": "2", "GPUS_PER_NODE": "2",
        "CPUS_PER_TASK": "1", "SRUN_ARGS": "--exclusive --time=10",
    }  # fmt: skip
    short = ["--cfg-options", "train_cfg.max_epochs=1"]
    start(place, "slurm_train.sh", "gpu", "job", "epochs.py", "slurmed", *short, **settings)
    line = (tmp_path / "line").read_text().split("\n")
    assert line[:9] == [
        "--partition=gpu", "--job-name=job", "--gres=gpu:2", "--ntasks=2", "--ntasks-per-node=2",
        "--cpus-per-task=1", "--kill-on-bad-exit=1", "--exclusive", "--time=10",
    ]  # fmt: skip
    assert (place / "slurmed" / "epoch_1.pth").is_file()
    settings.update(GRES="", PYTHON="echo")  # what would be started
    testing = ["slurm_test.sh", "gpu", "job", "tiny.py", "epoch_1.pth", "--tta"]
    shown = start(place, *testing, **settings)
    assert len(shown.splitlines()) == 2
    assert "tools/test.py tiny.py epoch_1.pth --tta --launcher slurm" in shown
    assert "--gres" not in (tmp_path / "line").read_text()


def test_wrong_usage_a_wrong_number_and_a_taken_port_are_told(tmp_path: Path) -> None:
    for script in ("dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"):
        shown = start(tmp_path, script, "tiny.py", expect=2)
        assert f"{script} " in shown and "PYTHON=python" in shown
    assert "not 'two'" in start(tmp_path, "dist_train.sh", "tiny.py", "two", expect=2)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        shown = start(tmp_path, "dist_train.sh", "tiny.py", 1, expect=1, PORT=port)
    assert f"port {port} is taken" in shown
