"""Deviations from the released models' outputs in every mode, on any device, as lines of JSON.

    python -m tests.parity --device cuda

``tools/benchmark_gpu.sh`` runs it. The tests themselves hold the CPU to tolerances.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from multiprocessing import get_context
from typing import NamedTuple

import torch

from mmscalablevit.cli.compilation import compile_backbone
from mmscalablevit.errors import first_line
from tests import golden
from tests.models.families import FAMILIES
from tests.models.test_golden import released_backbone


class Mode(NamedTuple):
    """How a model runs."""

    dtype: str
    compiled: bool


MODES = {
    "float32": Mode("float32", False),
    "float32, compiled": Mode("float32", True),
    "bfloat16": Mode("bfloat16", False),
    "bfloat16, compiled": Mode("bfloat16", True),
}


def deviation(file: str, mode: Mode, device: str) -> float:
    """Largest deviation of a golden file's maps, over each map's std; in bfloat16 of the RMS."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # convolutions in float32, not with 10 bits
    data = golden.load_golden(file)
    model = released_backbone(file).to(device)
    if mode.compiled:
        compile_backbone(model)
    bfloat16 = mode.dtype == "bfloat16"
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16)
    with torch.no_grad(), autocast:
        maps = model.backbone(golden.golden_image(data).to(device))
    return max(
        golden.stage_deviation(data, i, x.cpu(), root_mean_square=bfloat16)
        for i, x in enumerate(maps)
    )


def main() -> None:
    """Print one line a file and mode, as soon as it is known."""
    parser = argparse.ArgumentParser(description="Deviations from the released models' outputs.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--files", nargs="+", default=["*"], help="patterns of golden files")
    parser.add_argument("--compiled", nargs="+", default=["*"], help="of those to compile as well")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    files = [file for family in FAMILIES for file in golden.golden_names(family)]
    tasks = [
        (file, name)
        for name in sorted(MODES, key=lambda name: not MODES[name].compiled)  # they take longest
        for file in files
        if any(
            fnmatch(file, pattern)
            for pattern in (args.compiled if MODES[name].compiled else args.files)
        )
    ]
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        running = {
            pool.submit(deviation, file, MODES[name], args.device): (file, name)
            for file, name in tasks
        }
        for future in as_completed(running):
            file, name = running[future]
            found = {"file": file, "mode": name}
            try:
                found["deviation"] = future.result()
            except Exception as error:  # whatever a compiler comes up with
                found["error"] = first_line(error)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
