"""The benchmark runs, says what it cannot do, and derives the right figures from times.

No test depends on how fast anything is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmscalablevit.benchmark import measuring
from mmscalablevit.benchmark.measuring import Measurement, Measurements
from mmscalablevit.benchmark.report import growth_table, profile_table, speed_table, summarize
from mmscalablevit.benchmark.workloads import Workload, parse_workload
from mmscalablevit.errors import UsageError
from tests.in_process import run_tool

ROOT = Path(__file__).parents[2]
GPU = torch.cuda.is_available()
DEFAULT = Workload(text="", model="")
CPU = torch.device("cpu")
DIGITS = "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
RETINANET = "configs/detection/digits/retinanet_scalablevit-tiny_fpn_1xb4_digits.py"
MASK_RCNN = "configs/detection/digits/mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py"
SEMANTIC_FPN = "configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/benchmark.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_options_stand_behind_a_colon() -> None:
    text = "scalablevit-s:bfloat16,compiled,training,backbone,batch=3,size=64x96"
    settings = {"dtype": "bfloat16", "compiled": True, "training": True, "backbone_only": True}
    expected = Workload(text=text, model="scalablevit-s", size=(64, 96), batch=3, **settings)
    assert parse_workload(text, DEFAULT) == expected
    training = replace(DEFAULT, training=True, batch=2)
    assert parse_workload("swin-t", training).training
    assert not parse_workload("swin-t:inference", training).training
    assert parse_workload("naive-s", DEFAULT).naive
    framework = "mmpretrain::resnet/resnet18_8xb32_in1k.py"
    assert parse_workload(framework, DEFAULT).model == framework
    assert parse_workload(f"{framework}:compiled", DEFAULT).compiled


def test_what_cannot_be_measured_is_named() -> None:
    for text, words in {
        "scalablevit-x": "unknown model 'scalablevit-x'; did you mean scalablevit-",
        "swin-t:bfloat61": "unknown option 'bfloat61'; did you mean bfloat16",
        "swin-t:batch=0": "batch=0",
        "swin-t:size=1xx": "HEIGHTxWIDTH",
        "swin-t:jpegs=256": "jpegs is for the training of a classifier",
        "swin-t:naive": "takes the place of a ScalableViT",
        "naive-s:checkpointed": "no checkpointing",
        "configs/absent.py": "config configs/absent.py does not exist",
        "mmpretrain::absent/absent.py": "cannot read the config",
    }.items():
        with pytest.raises(UsageError) as error:
            parse_workload(text, DEFAULT)
        assert words in str(error.value)


def test_wrong_command_lines_end_with_a_message() -> None:
    cases = {
        (): "nothing to measure",
        ("swin-t", "swin-t"): "named twice",
        ("swin-t", "--baseline", "naive-s"): "--baseline naive-s is none of",
        ("swin-t", "--device", "tpu"): "no such device",
        ("swin-t", "--seconds", "-1"): "-1 is not a number from 0 on",
        ("swin-t", "--device", "cuda:99"): "there are" if GPU else "no usable GPU",
    }
    for arguments, words in cases.items():
        ending = run_tool("benchmark.py", *arguments)
        assert ending.code and words in ending.shown + ending.message, ending


class Sleep:
    """Takes a known time and a known amount of memory."""

    macs = 1

    def __init__(self, seconds: float = 0.0, numbers: int = 0) -> None:
        self.seconds, self.numbers, self.steps = seconds, numbers, 0
        self.kept = torch.zeros(1000)

    def step(self) -> None:
        self.steps += 1
        time.sleep(self.seconds)
        self.filled = torch.ones(self.numbers).sum()

    def held_bytes(self) -> int:
        return self.kept.nbytes


def test_time_is_that_of_one_step() -> None:
    work = Sleep(seconds=0.02)
    seconds = measuring.time_steps(work, CPU, 0.1)
    assert work.steps >= 3
    assert seconds >= 0.02  # it never takes less; more it may
    assert measuring.time_steps(Sleep(seconds=0.02), CPU, 0.0) >= 0.02


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_peak_memory_is_what_a_step_takes_and_what_stays() -> None:
    torch.zeros(1 << 26)  # 256 MiB, freed: no part of the peak
    work = Sleep(numbers=1 << 24)  # 64 MiB
    work.step()
    peak = measuring.measure_peak(work, CPU)
    assert peak == pytest.approx(64 * 2**20 + 4000, rel=0.1)


SIZES = ((32, 32), (64, 64))


def measurements(*keys: tuple[str, int]) -> Measurements:
    """Of models ``a`` and ``b`` at two sizes, in three rounds, the second twice as slow as others.

    Keys choose models and places of sizes; without, it is all four.
    """
    measured = {
        ("a", 0): Measurement([0.1, 0.2, 0.1], 1000, 10, {"mm": 0.5, "add": 0.001, "copy": 0.002}),
        ("b", 0): Measurement([0.05, 0.1, 0.05], 500, 10, {"mm": 0.25, "gelu": 0.125}),
        ("a", 1): Measurement([0.4, 0.8, 0.4], 4000, 40),
        ("b", 1): Measurement([0.4, 0.8, 0.4], 1000, 40),
    }
    works: dict[Workload | str, Measurement] = {
        Workload(text=name, model=name, batch=2, size=SIZES[place]): measured[name, place]
        for name, place in keys or measured
    }
    return {**works, "float32": Measurement([0.1, 0.2, 0.1], None, 20)}


def cells(table: str) -> list[list[str]]:
    """The cells of a table's rows, without its header."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_ratios_are_those_of_the_same_round_and_size() -> None:
    entries = summarize(measurements(), baseline="a")
    assert [entry["speedup"] for entry in entries] == pytest.approx([1, 2, 1, 1])
    assert entries[1]["speedup_by_round"] == pytest.approx([2, 2, 2])
    assert entries[1]["images_per_second"] == pytest.approx(40)
    assert entries[1]["matmul_share"] == pytest.approx(1.0)
    assert entries[0]["matmul_share"] == pytest.approx(0.5)


def test_sizes_compare_per_pixel_and_batches_per_image() -> None:
    (a, one), (b, other), matmul = measurements(("a", 0), ("b", 1)).items()  # no size in common
    assert isinstance(a, Workload)
    entries = summarize(dict([(replace(a, batch=1), one), (b, other), matmul]), baseline="a")
    assert entries[1]["speedup"] == pytest.approx(0.5)  # four times the time, twice the images
    assert entries[1]["time_per_pixel"] == pytest.approx(0.5)  # and eight times the pixels


def test_growth_is_over_that_of_the_work() -> None:
    table = growth_table(summarize(measurements(), baseline="a"))
    assert [row[-2:] for row in cells(table)] == 3 * [["1.00", "1.00"]] + [["2.00", "0.50"]]
    assert growth_table(summarize(measurements(("a", 0), ("b", 0)), baseline="a")) == ""


def test_a_profile_is_of_one_step() -> None:
    work = Sleep(numbers=100)
    begun = time.perf_counter()
    operators = measuring.profile_operators(work, CPU, steps=100)
    elapsed = time.perf_counter() - begun
    assert work.steps == 100
    assert operators["aten::fill_"] > 0 and operators["aten::sum"] > 0
    assert sum(operators.values()) < elapsed / 50  # what is called is not counted twice


def test_a_profile_shows_the_longest_and_adds_up_the_rest() -> None:
    entries = summarize(measurements(("a", 0), ("b", 0)), baseline="a")
    table = profile_table(entries, rows=2)
    longest = [["mm", "500.0", "250.0"], ["gelu", "0.0", "125.0"]]
    assert cells(table) == [*longest, ["others", "3.0", "0.0"]]
    legend = table.splitlines()[-2:]
    assert legend[0].startswith("(1) a ") and legend[1].startswith("(2) b ")


def test_published_throughputs_stand_beside_the_measured_ones() -> None:
    entries = summarize(measurements(("a", 0), ("b", 0)), baseline="a")
    table = speed_table(entries, "a", {"a": 400.0, "c": 1.0})  # b is not in the table
    assert [row[-2:] for row in cells(table)] == [["400.0", "1.00"], ["", ""]]


TRAINED_BACKBONE = {"training": True, "backbone_only": True, "checkpointed": True}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (DIGITS, {}),
        (DIGITS, {"training": True, "naive": True}),
        (DIGITS, TRAINED_BACKBONE),
        (RETINANET, {"training": True, "dtype": "bfloat16"}),
        (RETINANET, {"naive": True}),
        pytest.param(MASK_RCNN, {"training": True}, marks=pytest.mark.slow),
        (SEMANTIC_FPN, {"training": True}),
        (SEMANTIC_FPN, {}),
    ],
)
def test_a_step_runs_in_every_task(model: str, options: dict) -> None:
    from mmscalablevit.benchmark.steps import ModelWork

    workload = replace(DEFAULT, text=model, model=str(ROOT / model), batch=2, size=(64, 96))
    work = ModelWork(replace(workload, **options), CPU)
    before = [parameter.detach().clone() for parameter in work.model.parameters()]
    work.step()
    changed = [not torch.equal(a, b) for a, b in zip(before, work.model.parameters(), strict=True)]
    training = options.get("training", False)
    assert any(changed) == (training and options != TRAINED_BACKBONE)
    assert all(x.grad is not None for x in work.model.parameters()) == training
    weights = sum(parameter.nbytes for parameter in before)
    assert work.held_bytes() >= (2 if training else 1) * weights
    assert work.macs > 1e6


def test_one_small_run(tmp_path: Path) -> None:
    out = tmp_path / "benchmark.json"
    model = f"{DIGITS}:backbone"
    arguments = ["--batch", 2, "--size", "32", "48", "--rounds", 2, "--seconds", 0.01, "--profile"]
    done = run(f"{DIGITS}:naive,backbone", model, *arguments, "--threads", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "round 2 of 2" in done.stderr
    for words in ("matmul rate: float32", "torch==", "speed-up", "growth over that", "addmm"):
        assert words in done.stdout
    found = json.loads(out.read_text())
    texts = [entry["text"] for entry in found["workloads"]]
    assert texts == [f"{DIGITS}:naive,backbone", model] * 2
    for entry in found["workloads"]:
        assert len(entry["seconds"]) == 2 and min(entry["seconds"]) > 0
        assert entry["operator_seconds"]["aten::addmm"] > 0
        assert entry["speedup"] > 0 and entry["matmul_share"] > 0
    assert found["workloads"][0]["speedup"] == 1.0
    assert found["matmul_flops_per_second"]["float32"] > 0


FAILING = {
    "no-classifier.py": ('model = dict(type="BaseDataPreprocessor")', "cannot be run: "),
    "size.py": (
        '_base_ = "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py"',
        "cannot be run: AssertionError: The input shape",
    ),
    # with bases, or MMEngine calls nothing while it reads a config that imports
    "dies.py": (
        '_base_ = []\nimport os\nimport sys\nif "--multiprocessing-fork" in sys.orig_argv:\n'
        "    os._exit(3)\nmodel = dict()",
        "its process ended with 3",
    ),
}


@pytest.mark.slow
def test_a_model_that_fails_is_named_and_ends_the_run_or_is_left_out(tmp_path: Path) -> None:
    for name, (code, _) in FAILING.items():
        (tmp_path / name).write_text(f"{code}\n")
    paths = [str(tmp_path / name) for name in FAILING]
    least = ["--batch", 1, "--size", 32, "--rounds", 1, "--seconds", 0]
    done = run(*paths, *least)
    assert done.returncode != 0
    assert f"error: {paths[0]}" in done.stderr and "Traceback" not in done.stderr
    done = run(*paths, f"{DIGITS}:backbone", *least, "--patience", 600)
    assert done.returncode == 0, done.stderr
    for path, (_, words) in zip(paths, FAILING.values(), strict=True):
        (line,) = [line for line in done.stderr.splitlines() if f"left out: {path}" in line]
        assert words in line
    assert len(cells(done.stdout)) == 1
