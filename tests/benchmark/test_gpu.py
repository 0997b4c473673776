"""The GPU's figures: the script runs small on a CPU, and its rows say what was measured."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmcv import ops

from mmscalablevit.benchmark import mmcv_ops

ROOT = Path(__file__).parents[2]
ROWS = runpy.run_path(str(ROOT / "tools/gpu_rows.py"))
parity_rows, ratio_rows = ROWS["parity_rows"], ROWS["ratio_rows"]


def entry(text: str, batch: int, *seconds: float, peak: int = 1000) -> dict:
    median = sorted(seconds)[len(seconds) // 2]
    found = {"text": text, "label": text, "batch": batch, "peak_bytes": peak}
    found |= {"seconds": list(seconds), "median_seconds": median}
    return {**found, "images_per_second": batch / median, "training": text.startswith("config")}


def test_ratios_are_of_the_same_batch_and_round() -> None:
    entries = [
        entry("naive-s", 64, 0.2, 0.4, 0.2),
        entry("scalablevit-s", 64, 0.1, 0.1, 0.1),
        entry("naive-s", 256, 0.6, 0.6, 0.6),
        entry("scalablevit-s", 256, 0.4, 0.4, 0.4),
    ]  # Swin-T and what is compiled were left out
    assert list(ratio_rows("inference", entries)) == [
        "| inference, eager, over naive | ≥ 1.5 | "
        "scalablevit-s, batch 64: 2.00 (2.00 to 4.00); "
        "scalablevit-s, batch 256: 1.50 (1.50 to 1.50) |"
    ]


def test_training_compares_memory_too() -> None:
    entries = [
        entry("config.py:naive,backbone", 2, 0.2, peak=2000),
        entry("config.py:backbone", 2, 0.1, peak=1000),
    ]
    (row,) = ratio_rows("training", entries)
    assert row.endswith("batch 2: 2.00 (2.00 to 2.00), memory 0.50 |")


def test_parity_is_the_worst_file_and_names_what_failed() -> None:
    lines = [
        {"file": "lvt_224x224", "mode": "float32", "deviation": 2e-6},
        {"file": "lvt_224x448", "mode": "float32", "deviation": 3e-6},
        {"file": "stvit_small_224x224", "mode": "bfloat16", "error": "RuntimeError: no kernel"},
    ]
    assert list(parity_rows(lines)) == [
        "| stvit_small_224x224 | bfloat16 | RuntimeError: no kernel |",
        "| lvt | float32 | 3.0e-06 of 2 files |",
        "| stvit | bfloat16 | nan of 1 files |",
    ]


def test_operators_by_torchvision_are_mmcvs() -> None:
    boxes = torch.rand(200, 4) * 50
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.rand(200)
    for offset in (0, 1):
        _, expected = ops.nms(boxes, scores, 0.5, offset)
        kept = mmcv_ops.nms(boxes, scores, iou_threshold=0.5, offset=offset)
        assert torch.equal(kept, expected)
    features = torch.randn(2, 3, 20, 30)
    rois = torch.cat([torch.randint(2, (200, 1)).float(), boxes], dim=1)
    output = torch.empty(200, 3, 7, 7)
    sizes = {"spatial_scale": 0.25, "sampling_ratio": 0, "aligned": True}
    mmcv_ops.roi_align_forward(
        features, rois, output, None, None, aligned_height=7, aligned_width=7, pool_mode=1, **sizes
    )
    expected = ops.roi_align(features, rois, 7, 0.25, 0, "avg", True)
    assert torch.allclose(output, expected, atol=1e-5)
    with pytest.raises(NotImplementedError, match="no operator deform_conv"):
        mmcv_ops.deform_conv_forward()


@pytest.mark.slow
def test_the_script_runs_small_on_a_cpu(tmp_path: Path) -> None:
    settings = {
        "CELLS": "parity training epoch",
        "DEVICE": "cpu",
        "SLOW": "10",
        "TURNS": "--rounds 1 --seconds 0",
        "FILES": "lvt_224x224",
        "COMPILED_FILES": "none",
        "DENSE": "64x96",
        "SIZE": "32",
        "EPOCH": "configs/classification/digits/scalablevit-tiny_1xb64_digits.py",
        "JPEGS": "256",
        "READING": "64",
        "PYTHON": sys.executable,
    }
    out = tmp_path / "out"
    done = subprocess.run(
        ["bash", ROOT / "tools/benchmark_gpu.sh", out],
        env={**os.environ, **settings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout, (out / "log.txt").read_text()
    results = json.loads((out / "results.json").read_text())
    assert [line["mode"] for line in results["parity"]] == ["float32", "bfloat16"]
    assert len(results["training"]["workloads"]) == len(results["epoch"]["workloads"]) == 3
    assert results["epoch"]["workloads"][1]["images_per_second"] > 0
    rows = (out / "rows.md").read_text()
    for words in ("| lvt | float32 |", "| training step over naive |", "| from JPEG", "ms/step"):
        assert words in rows
