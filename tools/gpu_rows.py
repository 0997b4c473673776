"""Rows for docs/performance.md from what ``tools/benchmark_gpu.sh`` has measured so far.

A program of its own, of the standard library alone: it runs after each cell, and takes no time.

    python tools/gpu_rows.py FOLDER_OF_CELLS RESULTS_JSON
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]

# Cell, what is compared, target, patterns of the two models as the command names them.
RATIOS = [
    ("inference", "inference, eager, over naive", "≥ 1.5", "scalablevit-s", "naive-s"),
    ("inference", "the same, compiled", "≥ 2.5", "scalablevit-s:compiled", "naive-s"),
    ("inference", "over Swin-T, eager", "≥ 1.3", "scalablevit-s", "swin-t"),
    ("inference", "over Swin-T, compiled", "≥ 1.3", "scalablevit-s:compiled", "swin-t:compiled"),
    ("training", "training step over naive", "≥ 1.5; ≤ 0.6", "*:backbone", "*:naive,backbone"),
    ("training", "the same, with_cp", "", "*:checkpointed,backbone", "*:naive,backbone"),
    ("compiled", "the same, compiled", "", "*:backbone,compiled", "*:naive,backbone"),
    ("epoch", "from JPEG files, over images on the GPU", "", "*:jpegs=*", "*[!0-9]"),
]


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def compare(ours: Entry, theirs: Entry) -> str:
    """How many times as fast one is: the rounds' median and range; in training, memory too."""
    images = [one["images_per_second"] * one["median_seconds"] for one in (ours, theirs)]
    rounds = [
        images[0] / images[1] * b / a
        for a, b in zip(ours["seconds"], theirs["seconds"], strict=True)
    ]
    text = f"{statistics.median(rounds):.2f} ({min(rounds):.2f} to {max(rounds):.2f})"
    if ours["training"] and ours["peak_bytes"] and theirs["peak_bytes"]:
        text += f", memory {ours['peak_bytes'] / theirs['peak_bytes']:.2f}"
    return text


def ratio_rows(cell: str, entries: Sequence[Entry]) -> Iterator[str]:
    """What a cell says of :data:`RATIOS`, but for models that were left out."""
    for name, what, target, ours, theirs in RATIOS:
        found = [
            f"{one['label']}, batch {one['batch']}: {compare(one, other)}"
            for one in entries
            for other in entries
            if name == cell and fnmatch(one["text"], ours) and fnmatch(other["text"], theirs)
            if one["batch"] == other["batch"]
        ]
        if found:
            yield row(what, target, "; ".join(found))


def parity_rows(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each family's largest deviation in each mode, and the number of files that it is of."""
    by_mode: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        key = (line["file"].partition("_")[0], line["mode"])
        by_mode.setdefault(key, []).append(line.get("deviation", float("nan")))
        if "error" in line:
            yield row(line["file"], line["mode"], line["error"])
    for (family, mode), values in sorted(by_mode.items()):
        yield row(family, mode, f"{max(values):.1e} of {len(values)} files")


def main() -> None:
    """Print the rows, and put all results into one file."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    results: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        if path.stem == "parity":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            results[path.stem] = lines
            rows = parity_rows(lines)
        else:
            results[path.stem] = json.loads(path.read_text())
            rows = ratio_rows(path.stem, results[path.stem]["workloads"])
        print(*rows, sep="\n")
    out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
