"""``train.py`` and ``test.py`` on a tiny data set, and several processes beside one."""

from __future__ import annotations

import functools
import json
import os
import pickle
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmscalablevit.checkpoints import load_file
from mmscalablevit.datasets import prepare_digits
from tests.in_process import TOOLS, run_tool
from tests.leaves import LEAVES
from tests.tiny_projects import BASES, CLASSIFICATION, SHORT, save_checkpoint

# Two epochs over three classes that have a colour each.
CONFIG = """
_base_ = "classification.py"
colours = dict(data_root="data", metainfo=dict(classes=["colour0", "colour1", "colour2"]))
train_dataloader = dict(batch_size=6, sampler=dict(shuffle=True), dataset=colours)
val_dataloader = dict(batch_size=3, dataset=colours)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=12)
"""

# An epoch, and no validation, of a model that is soon compiled: a stage with both attentions.
SHORT_TRAINING = """
_base_ = "tiny.py"
arch = dict(_delete_=True, embed_dims=[8], depths=[2], num_heads=[1], channel_ratios=[1],
            spatial_ratios=[4])
model = dict(backbone=dict(arch=arch, out_indices=(0,)), head=dict(in_channels=8))
train_cfg = dict(max_epochs=1, val_begin=2)
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a user's own with a data set of three colours and a config."""
    root = tmp_path_factory.mktemp("user")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for label in range(3):
            folder = root / "data" / split / f"colour{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                image = random.integers(0, 60, (40, 36 + 4 * index, 3))
                image[..., label] += 150
                Image.fromarray(image.astype(np.uint8)).save(folder / f"{index}.png")
    (root / "classification.py").write_text(CLASSIFICATION)
    (root / "tiny.py").write_text(CONFIG)
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


def start(*command: object, expect: int = 0, **environment: str) -> str:
    """Run a tool or a script in a process of its own, and return what it shows."""
    program, *arguments = map(str, command)
    interpreter = "bash" if program.endswith(".sh") else sys.executable
    done = subprocess.run(
        [interpreter, str(TOOLS / program), *arguments],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    """The work directory of a run of two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run("train.py", "tiny.py", "--work-dir", "trained")
    return home / "trained"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)["state_dict"]


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_mistake_ends_the_process_with_a_message_and_no_traceback(place: Path) -> None:
    """Of all others, ``tests/test_bad_input.py`` makes sure within its process."""
    for command in (("train.py", "tniy.py"), ("test.py", "tniy.py", "x.pth")):
        shown = " ".join(start(*command, expect=1).split())
        assert "error: config tniy.py does not exist did you mean tiny.py?" in shown
        assert "Traceback" not in shown


@pytest.mark.slow
def test_train_then_test_with_results_and_pictures(place: Path, trained: Path) -> None:
    shown = run(
        "test.py", "tiny.py", trained / "epoch_2.pth", "--eval", "ACCURACY",
        "--work-dir", "tested", "--out", "results/r.json", "--show-dir", "pictures",
    )  # fmt: skip
    report = read(place / "tested" / "metrics.json")
    assert report["checkpoint"] == str(trained / "epoch_2.pth")
    results = read(place / "results" / "r.json")
    assert len(results) == 9
    right = sum(result["predicted_label"] == result["true_label"] for result in results)
    assert report["metrics"]["accuracy/top1"] == pytest.approx(100 * right / 9, abs=1e-3)
    assert shown.splitlines()[-1].startswith("accuracy/top1: ")
    assert {Path(result["file"]).parent.name for result in results} == {
        f"colour{result['true_label']}" for result in results
    }
    pictures = sorted((place / "pictures").glob("*/*.png"))
    assert len(pictures) == 9  # also of images with the same name in different folders
    red = np.asarray(Image.open(place / "pictures" / "colour0" / "1.png"))[-20:]
    assert red[..., 0].mean() > red[..., 2].mean() + 80 and min(red.shape[1:2]) >= 224


@pytest.mark.slow
def test_augmented_test_in_bfloat16_dumps_samples(place: Path, trained: Path) -> None:
    run(
        "test.py", "tiny.py", trained / "epoch_2.pth", "--aug-test", "--amp",
        "--out", "r.pkl", "--work-dir", "augmented", "--show-dir", "augmented/pictures",
    )  # fmt: skip
    assert len(pickle.loads((place / "r.pkl").read_bytes())) == 9
    assert len(list((place / "augmented" / "pictures").glob("*/*.png"))) == 9


@pytest.mark.slow
def test_resumed_training_equals_the_undisturbed_one(place: Path, trained: Path) -> None:
    work = place / "resumed"
    work.mkdir()
    (work / "epoch_1.pth").write_bytes((trained / "epoch_1.pth").read_bytes())
    (work / "epoch_2.pth").write_bytes((trained / "epoch_2.pth").read_bytes()[:9000])
    shown = run("train.py", "tiny.py", "--work-dir", work, "--resume")
    assert "passed over" in shown and "resumed epoch: 1" in shown
    expected, resumed = weights(trained / "epoch_2.pth"), weights(work / "epoch_2.pth")
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
def test_averaged_weights_in_mixed_precision_are_what_a_test_uses(place: Path) -> None:
    run(
        "train.py", "tiny.py", "--work-dir", "averaged", "--ema", "--amp", "bfloat16",
        "--auto-scale-lr", "--seed", "7", "--deterministic", "--resume", "auto",
    )  # fmt: skip
    saved = load_file(place / "averaged" / "epoch_2.pth")
    name = "backbone.stages.0.blocks.0.norm1.weight"
    raw, average = saved["ema_state_dict"][f"module.{name}"], saved["state_dict"][name]
    assert not torch.equal(raw, average) and average.dtype == torch.float32
    assert saved["meta"]["seed"] == 7
    assert saved["optimizer"]["param_groups"][0]["lr"] == pytest.approx(2e-3 * 6 / 12)
    run("test.py", "tiny.py", "averaged/epoch_2.pth", "--work-dir", "averaged")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_backbone_trains_and_tests_as_the_plain_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "short.py").write_text(SHORT_TRAINING)
    run("train.py", "short.py", "--work-dir", "plain")
    run("train.py", "short.py", "--work-dir", "compiled", "--compile")
    plain, compiled = (weights(place / name / "epoch_1.pth") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-2, atol=1e-3, msg=name)
    # what Inductor makes of the inference, the golden tests compare
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    scores = []
    for name, option in (("plain", []), ("compiled", ["--compile"])):
        out = ["--out", f"{name}.pkl", "--work-dir", name]
        run("test.py", "short.py", "plain/epoch_1.pth", *out, *option)
        results = pickle.loads((place / f"{name}.pkl").read_bytes())
        scores.append(torch.stack([result["pred_score"] for result in results]))
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(place: Path, trained: Path) -> None:
    start("dist_train.sh", "tiny.py", 2, "--work-dir", "two", PORT=free_port())
    assert (place / "two" / "epoch_2.pth").is_file()
    line = ["tiny.py", trained / "epoch_2.pth"]
    work = ["--work-dir", "two", "--out", "two.json", "--eval", "accuracy"]
    start("dist_test.sh", *line, 2, *work, PORT=free_port())
    run("test.py", *line, "--work-dir", "one", "--out", "one.json", "--eval", "accuracy")
    two, one = (read(place / f"{name}.json") for name in ("two", "one"))
    assert [r["file"] for r in two] == [r["file"] for r in one]
    assert [r["score"] for r in two] == pytest.approx([r["score"] for r in one], abs=1e-5)
    reports = [read(place / name / "metrics.json") for name in ("one", "two")]
    assert reports[0]["metrics"] == reports[1]["metrics"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with configs and an odd number of scenes of digits to test on."""
    root = tmp_path_factory.mktemp("scenes")
    tasks = ("detection", "segmentation")
    prepare_digits(root / "data/digits", tasks=tasks, num_train=2, num_val=5)
    for name, base in BASES.items():
        (root / f"{name}.py").write_text(SHORT.format(base=str(LEAVES[base])))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_two_processes_predict_as_one_does(
    scenes: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes)
    checkpoint = save_checkpoint(scenes / f"{name}.py", scenes / f"{name}.pth")
    line = [f"{name}.py", checkpoint]
    options = []
    if name != "segmentation":  # where nothing is learned yet, scores are low
        part = "" if name == "detection" else "rcnn."
        options = ["--cfg-options", f"model.test_cfg.{part}score_thr=0.0"]
    run("test.py", *line, "--work-dir", f"{name}-1", "--out", f"{name}-1.pkl", *options)
    several = ["--work-dir", f"{name}-2", "--out", f"{name}-2.pkl", *options]
    start("dist_test.sh", *line, 2, *several, PORT=free_port())
    one, two = (pickle.loads((scenes / f"{name}-{number}.pkl").read_bytes()) for number in (1, 2))
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
    reports = [read(scenes / f"{name}-{number}/metrics.json")["metrics"] for number in (1, 2)]
    assert reports[0] == pytest.approx(reports[1], abs=1e-3)
    if name == "segmentation":
        assert reports[0] == reports[1] and reports[0]["mIoU"] > 0


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
    start("slurm_train.sh", "gpu", "job", "tiny.py", "slurmed", *short, **settings)
    line = (tmp_path / "line").read_text().split("\n")
    assert line[:9] == [
        "--partition=gpu", "--job-name=job", "--gres=gpu:2", "--ntasks=2", "--ntasks-per-node=2",
        "--cpus-per-task=1", "--kill-on-bad-exit=1", "--exclusive", "--time=10",
    ]  # fmt: skip
    assert (place / "slurmed" / "epoch_1.pth").is_file()
    settings.update(GRES="", PYTHON="echo")  # what would be started
    shown = start("slurm_test.sh", "gpu", "job", "tiny.py", "epoch_1.pth", "--tta", **settings)
    assert len(shown.splitlines()) == 2
    assert "tools/test.py tiny.py epoch_1.pth --tta --launcher slurm" in shown
    assert "--gres" not in (tmp_path / "line").read_text()


def test_wrong_usage_a_wrong_number_and_a_taken_port_are_told(place: Path) -> None:
    for script in ("dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"):
        shown = start(script, "tiny.py", expect=2)
        assert f"{script} " in shown and "PYTHON=python" in shown
    assert "not 'two'" in start("dist_train.sh", "tiny.py", "two", expect=2)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        shown = start("dist_train.sh", "tiny.py", 1, expect=1, PORT=port)
    assert f"port {port} is taken" in shown
