"""The command-line tools on a tiny data set, each run in a process of its own."""

from __future__ import annotations

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
from tests.tiny_projects import BASES, CONFIGS, SHORT, save_checkpoint

TOOLS = Path(__file__).resolve().parents[2] / "tools"

CONFIG = """
default_scope = "mmpretrain"
custom_imports = dict(imports=["mmscalablevit"], allow_failed_imports=False)
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="ScalableViT",
        arch=dict(
            embed_dims=[8, 16, 24, 32],
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 3, 4],
            channel_ratios=[1, 1, 1, 1],
            spatial_ratios=[8, 4, 2, 1],
        ),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=3, in_channels=32, topk=(1,),
              loss=dict(type="CrossEntropyLoss")),
)
data_preprocessor = dict(num_classes=3, mean=[127.0] * 3, std=[60.0] * 3, to_rgb=True)
pipeline = [
    dict(type="LoadImageFromFile"), dict(type="Resize", scale=(32, 32)), dict(type="PackInputs"),
]


def loader(split, size, shuffle):
    return dict(
        batch_size=size, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=shuffle),
        dataset=dict(type="CustomDataset", data_root={root!r}, data_prefix=split,
                     pipeline=pipeline),
    )


train_dataloader = loader("train", 6, True)
val_dataloader = test_dataloader = loader("val", 4, False)
del loader
val_evaluator = test_evaluator = dict(type="Accuracy", topk=(1, 2))
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=2e-3))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
val_cfg = test_cfg = dict()
default_hooks = dict(logger=dict(type="LoggerHook", interval=1),
                     checkpoint=dict(type="CheckpointHook", interval=1))
auto_scale_lr = dict(base_batch_size=12)
visualizer = dict(type="UniversalVisualizer", vis_backends=[dict(type="LocalVisBackend")])
randomness = dict(seed=0)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
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
    (root / "tiny.py").write_text(CONFIG.replace("{root!r}", repr(str(root / "data"))))
    return root


def run(place: Path, *command: object, expect: int = 0, **environment: str):
    """Run a tool from the user's directory and check its exit code."""
    program, *arguments = map(str, command)
    if program.endswith(".sh"):
        line = ["bash", str(TOOLS / program), *arguments]
    else:
        line = [sys.executable, str(TOOLS / program), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable, **environment}
    done = subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def trained(place) -> Path:
    """The work directory of a run of two epochs."""
    run(place, "train.py", "tiny.py", "--work-dir", "trained")
    return place / "trained"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)["state_dict"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train.py", "tniy.py"], "did you mean tiny.py?"),
        (["test.py", "tniy.py", "x.pth"], "did you mean tiny.py?"),
        (["test.py", "tiny.py", "x.pth"], "checkpoint x.pth does not exist"),
        (["train.py", "tiny.py", "--resume", "x.pth"], "checkpoint x.pth does not exist"),
        (["train.py", "tiny.py", "--launcher", "slurm"], "start this through srun"),
    ],
    ids=["train-config", "test-config", "checkpoint", "resume", "launcher"],
)
@pytest.mark.slow
def test_mistakes_end_with_a_message_and_no_traceback(place, command, message):
    done = run(place, *command, expect=1)
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_train_then_test_with_results_and_pictures(place, trained):
    done = run(
        place, "test.py", "tiny.py", trained / "epoch_2.pth", "--eval", "ACCURACY",
        "--work-dir", "tested", "--out", "results/r.json", "--show-dir", "pictures",
    )  # fmt: skip
    report = json.loads((place / "tested" / "metrics.json").read_text())
    assert report["checkpoint"] == str(trained / "epoch_2.pth")
    results = json.loads((place / "results" / "r.json").read_text())
    assert len(results) == 9
    right = sum(result["predicted_label"] == result["true_label"] for result in results)
    assert report["metrics"]["accuracy/top1"] == pytest.approx(100 * right / 9, abs=1e-3)
    assert done.stdout.splitlines()[-1].startswith("accuracy/top1: ")
    assert {Path(result["file"]).parent.name for result in results} == {
        f"colour{result['true_label']}" for result in results
    }
    pictures = sorted((place / "pictures").glob("*/*.png"))
    assert len(pictures) == 9  # also of images with the same name in different folders
    red = np.asarray(Image.open(place / "pictures" / "colour0" / "1.png"))[-20:]
    assert red[..., 0].mean() > red[..., 2].mean() + 80 and min(red.shape[1:2]) >= 224


@pytest.mark.slow
def test_refusals_of_test(place, trained):
    checkpoint = trained / "epoch_2.pth"
    done = run(place, "test.py", "tiny.py", checkpoint, "--eval", "segm", expect=1)
    assert "has no segm; it has: accuracy" in done.stderr
    done = run(place, "test.py", "tiny.py", checkpoint, "--out", "r.csv", expect=1)
    assert "go to a .json file" in done.stderr
    broken = place / "broken.pth"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    done = run(place, "test.py", "tiny.py", broken, expect=1)
    assert "broken.pth is truncated" in done.stderr
    torch.save({"state_dict": {}, "x": os.remove}, place / "code.pth")
    done = run(place, "test.py", "tiny.py", place / "code.pth", expect=1)
    assert "posix.remove" in done.stderr and "refused" in done.stderr
    wider = "model.backbone.arch.embed_dims=[8,16,24,64]"
    options = ["--cfg-options", wider, "model.head.in_channels=64"]
    done = run(place, "test.py", "tiny.py", checkpoint, *options, expect=1)
    assert "not one of this config's model" in done.stderr


@pytest.mark.slow
def test_augmented_test_in_bfloat16_dumps_samples(place, trained):
    run(
        place, "test.py", "tiny.py", trained / "epoch_2.pth", "--aug-test", "--amp",
        "--out", "r.pkl", "--work-dir", "augmented", "--show-dir", "augmented/pictures",
    )  # fmt: skip
    with open(place / "r.pkl", "rb") as file:
        assert len(pickle.load(file)) == 9
    assert len(list((place / "augmented" / "pictures").glob("*/*.png"))) == 9


@pytest.mark.slow
def test_resumed_training_equals_the_undisturbed_one(place, trained):
    work = place / "resumed"
    work.mkdir()
    (work / "epoch_1.pth").write_bytes((trained / "epoch_1.pth").read_bytes())
    (work / "epoch_2.pth").write_bytes((trained / "epoch_2.pth").read_bytes()[:9000])
    done = run(place, "train.py", "tiny.py", "--work-dir", work, "--resume")
    assert "passed over" in done.stdout + done.stderr and "resumed epoch: 1" in done.stdout
    expected, resumed = weights(trained / "epoch_2.pth"), weights(work / "epoch_2.pth")
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
def test_resume_from_nothing_and_from_weights_alone(place, trained):
    content = load_file(trained / "epoch_1.pth")
    torch.save({"state_dict": content["state_dict"]}, place / "weights.pth")
    done = run(place, "train.py", "tiny.py", "--resume", "weights.pth", expect=1)
    assert "holds weights only" in done.stderr and "load_from=" in done.stderr
    short = ["--cfg-options", "train_cfg.max_epochs=1"]
    done = run(place, "train.py", "tiny.py", "--work-dir", "new", "--resume", "auto", *short)
    assert "no checkpoint in new" in done.stdout


@pytest.mark.slow
def test_averaged_weights_in_mixed_precision_are_what_a_test_uses(place):
    run(
        place, "train.py", "tiny.py", "--work-dir", "averaged", "--ema", "--amp", "bfloat16",
        "--auto-scale-lr", "--seed", "7", "--deterministic",
    )  # fmt: skip
    saved = load_file(place / "averaged" / "epoch_2.pth")
    name = "backbone.stages.0.blocks.0.norm1.weight"
    raw, average = saved["ema_state_dict"][f"module.{name}"], saved["state_dict"][name]
    assert not torch.equal(raw, average) and average.dtype == torch.float32
    assert saved["meta"]["seed"] == 7
    assert saved["optimizer"]["param_groups"][0]["lr"] == pytest.approx(2e-3 * 6 / 12)
    run(place, "test.py", "tiny.py", "averaged/epoch_2.pth", "--work-dir", "averaged")


@pytest.mark.slow
def test_a_compiled_backbone_trains_and_tests_as_the_plain_one(place, trained):
    short = ["--cfg-options", "train_cfg.max_epochs=1"]
    run(place, "train.py", "tiny.py", "--work-dir", "compiled", "--compile", *short)
    expected, compiled = weights(trained / "epoch_1.pth"), weights(place / "compiled/epoch_1.pth")
    assert expected.keys() == compiled.keys()
    for name, value in expected.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-2, atol=1e-3, msg=name)
    scores = []
    for name, option in (("plain", []), ("compiled", ["--compile"])):
        out = ["--out", f"{name}.pkl", "--work-dir", name]
        run(place, "test.py", "tiny.py", trained / "epoch_2.pth", *option, *out)
        results = pickle.loads((place / f"{name}.pkl").read_bytes())
        scores.append(torch.stack([result["pred_score"] for result in results]))
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_results_of_one(place, trained):
    work = ["--work-dir", "two", "--out", "two.json", "--eval", "accuracy"]
    port = str(free_port())
    run(place, "dist_train.sh", "tiny.py", 2, "--work-dir", "two", PORT=port)
    run(place, "dist_test.sh", "tiny.py", trained / "epoch_2.pth", 2, *work, PORT=port)
    work = ["--work-dir", "one", "--out", "one.json", "--eval", "accuracy"]
    run(place, "test.py", "tiny.py", trained / "epoch_2.pth", *work)
    two, one = (json.loads((place / f"{name}.json").read_text()) for name in ("two", "one"))
    assert [r["file"] for r in two] == [r["file"] for r in one]
    assert [r["score"] for r in two] == pytest.approx([r["score"] for r in one], abs=1e-5)
    reports = [json.loads((place / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert (place / "two" / "epoch_2.pth").is_file()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A directory with configs and an odd number of scenes of digits to test on."""
    root = tmp_path_factory.mktemp("scenes")
    tasks = ("detection", "segmentation")
    prepare_digits(root / "data/digits", tasks=tasks, num_train=2, num_val=5)
    for name, base in BASES.items():
        (root / f"{name}.py").write_text(SHORT.format(base=str(CONFIGS / base)))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_two_processes_predict_as_one_does(scenes, name):
    checkpoint = save_checkpoint(scenes / f"{name}.py", scenes / f"{name}.pth")
    line = [f"{name}.py", checkpoint]
    options = []
    if name != "segmentation":  # where nothing is learned yet, scores are low
        part = "" if name == "detection" else "rcnn."
        options = ["--cfg-options", f"model.test_cfg.{part}score_thr=0.0"]
    reports = []
    for processes in ("one", "two"):
        work = ["--work-dir", f"{name}-{processes}"]
        out = ["--out", f"{name}-{processes}.pkl", *options]
        if processes == "one":
            run(scenes, "test.py", *line, *work, *out)
        else:
            run(scenes, "dist_test.sh", *line, 2, *work, *out, PORT=str(free_port()))
        reports.append(json.loads((scenes / work[1] / "metrics.json").read_text())["metrics"])
    one, two = (
        pickle.loads((scenes / f"{name}-{processes}.pkl").read_bytes())
        for processes in ("one", "two")
    )
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
    assert reports[0] == pytest.approx(reports[1], abs=1e-3)
    if name == "segmentation":
        assert reports[0] == reports[1] and reports[0]["mIoU"] > 0


@pytest.mark.slow
def test_slurm_starts_the_ranks(place, tmp_path):
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
    run(place, "slurm_train.sh", "gpu", "job", "tiny.py", "slurmed", *short, **settings)
    line = (tmp_path / "line").read_text().split("\n")
    assert line[:9] == [
        "--partition=gpu", "--job-name=job", "--gres=gpu:2", "--ntasks=2", "--ntasks-per-node=2",
        "--cpus-per-task=1", "--kill-on-bad-exit=1", "--exclusive", "--time=10",
    ]  # fmt: skip
    assert (place / "slurmed" / "epoch_1.pth").is_file()
    run(
        place, "slurm_test.sh", "gpu", "job", "tiny.py", "slurmed/epoch_1.pth",
        "--work-dir", "slurmed", "--eval", "accuracy", **{**settings, "GRES": ""},
    )  # fmt: skip
    assert (place / "slurmed" / "metrics.json").is_file()
    assert "--gres" not in (tmp_path / "line").read_text()


@pytest.mark.parametrize(
    "script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"]
)
def test_wrong_usage_shows_the_usage(place, script):
    done = run(place, script, "tiny.py", expect=2)
    assert f"{script} " in done.stderr and "PYTHON=python" in done.stderr


def test_a_wrong_number_and_a_taken_port_are_told(place):
    done = run(place, "dist_train.sh", "tiny.py", "two", expect=2)
    assert "not 'two'" in done.stderr
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(place, "dist_train.sh", "tiny.py", 1, expect=1, PORT=port)
    assert f"port {port} is taken" in done.stderr
