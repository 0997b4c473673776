"""What a benchmark found, as tables and as data."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmscalablevit.benchmark.measuring import Measurement, ratios
from mmscalablevit.benchmark.workloads import Workload

MIB = 2**20


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, aligned: the first to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def find_baseline(workloads: Sequence[Workload], index: int, baseline: str) -> int:
    """Index of the workload that another one is compared with.

    It is the baseline at the same size, or the baseline's only size.

    Args:
        workloads: All of them.
        index: The one to compare.
        baseline: The baseline as the user wrote it.
    """
    candidates = [i for i, workload in enumerate(workloads) if workload.text == baseline]
    same = [i for i in candidates if workloads[i].size == workloads[index].size]
    return (same or candidates)[0]


def summarize(
    workloads: Sequence[Workload],
    measurements: Sequence[Measurement],
    matmuls: Mapping[str, Measurement],
    baseline: str,
) -> list[dict[str, Any]]:
    """Everything that is derived from the measurements, one entry a workload.

    ``speedup`` is the baseline's time per image over the workload's, ``time_per_pixel`` the
    workload's time per pixel over the baseline's; both are medians of the rounds' own ratios.
    ``matmul_share`` is the workload's rate of multiply-accumulates over that of a product of
    matrices of the same type; None for training, whose backward passes are not counted.
    """
    entries = []
    for index, (workload, measured) in enumerate(zip(workloads, measurements, strict=True)):
        other = find_baseline(workloads, index, baseline)
        images = workload.batch / workloads[other].batch
        pixels = workload.pixels / workloads[other].pixels
        by_round = ratios(measurements[other], measured)
        matmul = matmuls[workload.dtype]
        share = (measured.macs / measured.median) / (matmul.macs / matmul.median)
        entries.append(
            {
                **asdict(workload),
                "label": workload.label,
                "seconds": measured.seconds,
                "median_seconds": measured.median,
                "images_per_second": workload.batch / measured.median,
                "peak_bytes": measured.peak_bytes,
                "forward_macs": measured.macs,
                "operator_seconds": dict(measured.operators),
                "matmul_share": None if workload.training else share,
                "baseline": workloads[other].label,
                "speedup": images * statistics.median(by_round),
                "speedup_by_round": [images * ratio for ratio in by_round],
                "time_per_pixel": 1 / (pixels * statistics.median(by_round)),
            }
        )
    return entries


def speed_table(entries: Sequence[Mapping[str, Any]], baseline: str) -> str:
    """The measurements, one line a workload."""
    several_sizes = len({entry["size"] for entry in entries}) > 1
    header = ["", "batch", "size", "ms/step", "images/s", "MiB", "matmul rate", "speed-up"]
    header += ["of rounds"] + (["time/pixel"] if several_sizes else [])
    rows = []
    for entry in entries:
        share, peak = entry["matmul_share"], entry["peak_bytes"]
        by_round = entry["speedup_by_round"]
        rows.append(
            [
                entry["label"],
                str(entry["batch"]),
                "x".join(map(str, entry["size"])),
                f"{1000 * entry['median_seconds']:.1f}",
                f"{entry['images_per_second']:.1f}",
                "n/a" if peak is None else f"{peak / MIB:.0f}",
                "" if share is None else f"{share:.0%}",
                f"{entry['speedup']:.2f}",
                f"{min(by_round):.2f}-{max(by_round):.2f}",
                *([f"{entry['time_per_pixel']:.2f}"] if several_sizes else []),
            ]
        )
    return f"{format_table(header, rows)}\n\nspeed-up, per image: over {baseline}"


def growth_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """How time and memory grow with the work, for models that were measured at several sizes.

    Empty if there are none. Both are relative to the growth of the multiply-accumulates from the
    smallest size on: above 1 they grow faster than the work.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_model.setdefault(f"{entry['label']} batch {entry['batch']}", []).append(entry)
    header = ["growth over that of the work", "size", "GMACs", "time", "memory"]
    rows = []
    for label, sizes in by_model.items():
        if len(sizes) < 2:
            continue
        sizes = sorted(sizes, key=lambda entry: entry["forward_macs"])
        first = sizes[0]
        for entry in sizes:
            work = entry["forward_macs"] / first["forward_macs"]
            growth = [entry["median_seconds"] / first["median_seconds"] / work]
            if entry["peak_bytes"] is not None:
                growth.append(entry["peak_bytes"] / first["peak_bytes"] / work)
            cells = [f"{value:.2f}" for value in growth] + ["n/a"] * (2 - len(growth))
            size = "x".join(map(str, entry["size"]))
            rows.append([label, size, f"{entry['forward_macs'] / 1e9:.1f}", *cells])
    return format_table(header, rows) if rows else ""


def profile_table(entries: Sequence[Mapping[str, Any]], rows: int = 15) -> str:
    """Milliseconds of a step by operator, one column a workload.

    Empty if nothing was profiled. The operators that take longest anywhere stand first, and the
    last line adds up those that have none of their own.
    """
    profiles = [entry["operator_seconds"] for entry in entries]
    names = {name for profile in profiles for name in profile}
    longest = sorted(names, key=lambda name: -max(profile.get(name, 0.0) for profile in profiles))
    shown = longest[:rows]
    lines = [(name[:60], [profile.get(name, 0.0) for profile in profiles]) for name in shown]
    rest = [sum(profile.get(name, 0.0) for name in longest[rows:]) for profile in profiles]
    lines.append(("others", rest))
    header = ["ms/step, profiled", *(f"({i})" for i, _ in enumerate(entries, start=1))]
    cells = [[name, *(f"{1000 * value:.1f}" for value in values)] for name, values in lines]
    legend = "".join(
        f"\n({i}) {entry['label']} {'x'.join(map(str, entry['size']))}"
        for i, entry in enumerate(entries, start=1)
    )
    return format_table(header, cells) + legend if names else ""


def published_table(
    title: str, figures: Mapping[str, float], names: Sequence[str], baseline: str
) -> str:
    """The throughputs that a paper prints, and their ratios to the baseline's.

    Args:
        title: What stands above the table.
        figures: Images a second by the models' names, as the benchmark has them.
        names: The models to list.
        baseline: One of them; the first printed model takes its place if it has no figure.
    """
    reference = figures.get(baseline) or next(iter(figures.values()))
    rows = [
        [name, f"{figures[name]:.1f}", f"{figures[name] / reference:.2f}"]
        for name in names
        if name in figures
    ]
    return f"{title}\n" + format_table(["", "images/s", "speed-up"], rows)


def machine_lines(machine: Mapping[str, Any], matmuls: Mapping[str, Measurement]) -> str:
    """The machine, its rates of matrix products, and the versions."""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    if "gpu" in machine:
        where = f"{machine['gpu']}, CUDA {machine['cuda']}; {where}"
    rates = ", ".join(
        f"{dtype} {2 * matmul.macs / matmul.median / 1e9:.0f} GFLOP/s"
        for dtype, matmul in matmuls.items()
    )
    versions = " ".join(f"{name}=={version}" for name, version in machine["versions"].items())
    return f"{where}\nmatmul rate: {rates}\nPython {machine['python']} {versions}"
