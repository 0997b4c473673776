"""What a benchmark found, as data and as tables in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prettytable import PrettyTable, TableStyle

from mmscalablevit.benchmark.measuring import Measurement, Measurements
from mmscalablevit.benchmark.workloads import Workload

MIB = 2**20
Entry = dict[str, Any]


def format_table(header: Sequence[str], rows: Sequence[list[str]]) -> str:
    """A table in Markdown: the first column to the left, figures to the right."""
    table = PrettyTable(header, align="r")
    table.align[header[0]] = "l"
    table.set_style(TableStyle.MARKDOWN)
    table.add_rows(rows)
    return table.get_string()


def find_baseline(workload: Workload, workloads: Sequence[Workload], baseline: str) -> Workload:
    """The workload that another one is compared with.

    Of the baseline's, which the user wrote so, it is the one of the same size, or else of the same
    batch. Where the baseline was left out, the first of all takes its place.
    """
    candidates = [other for other in workloads if other.text == baseline] or workloads[:1]
    return max(candidates, key=lambda x: (x.size == workload.size, x.batch == workload.batch))


def summarize(measurements: Measurements, baseline: str) -> list[Entry]:
    """Everything that is derived from the measurements, one entry a workload.

    ``speedup`` is the baseline's time per image over the workload's, ``time_per_pixel`` the
    workload's time per pixel over the baseline's; both are medians of the rounds' own ratios.
    ``matmul_share`` is the workload's rate of multiply-accumulates over that of a product of
    matrices of the same type; None for training, whose backward passes are not counted.
    """
    workloads = [workload for workload in measurements if isinstance(workload, Workload)]
    entries = []
    for workload in workloads:
        measured = measurements[workload]
        other = find_baseline(workload, workloads, baseline)
        images, pixels = workload.images / other.images, workload.pixels / other.pixels
        rounds = zip(measurements[other].seconds, measured.seconds, strict=True)
        by_round = [images * theirs / ours for theirs, ours in rounds]
        speedup = statistics.median(by_round)
        share = measured.macs_per_second / measurements[workload.dtype].macs_per_second
        entries.append(
            {
                **asdict(workload),
                "label": workload.label,
                "seconds": measured.seconds,
                "median_seconds": measured.median,
                "images_per_second": workload.images / measured.median,
                "peak_bytes": measured.peak_bytes,
                "forward_macs": measured.macs,
                "operator_seconds": dict(measured.operators),
                "matmul_share": None if workload.training else share,
                "baseline": other.label,
                "speedup": speedup,
                "speedup_by_round": by_round,
                "time_per_pixel": images / pixels / speedup,
            }
        )
    return entries


def speed_table(
    entries: Sequence[Entry], baseline: str, published: Mapping[str, float] | None = None
) -> str:
    """The measurements, one line a workload.

    Beside them stand images a second that a paper prints, by the models' names, and their ratios
    to the baseline's.
    """
    lines = []
    for entry in entries:
        share, peak, by_round = (
            entry[key] for key in ("matmul_share", "peak_bytes", "speedup_by_round")
        )
        line = {
            "": entry["label"],
            "batch": str(entry["batch"]),
            "size": format_size(entry),
            "ms/step": f"{1000 * entry['median_seconds']:.1f}",
            "images/s": f"{entry['images_per_second']:.1f}",
            "MiB": "n/a" if peak is None else f"{peak / MIB:.0f}",
            "matmul rate": "" if share is None else f"{share:.0%}",
            "speed-up": f"{entry['speedup']:.2f}",
            "of rounds": f"{min(by_round):.2f}-{max(by_round):.2f}",
            "time/pixel": f"{entry['time_per_pixel']:.2f}",
        }
        if published:
            figures = [published.get(model, math.nan) for model in (entry["model"], baseline)]
            line["print: images/s"] = f"{figures[0]:.1f}"
            line["print: speed-up"] = f"{figures[0] / figures[1]:.2f}"
        lines.append({title: "" if cell == "nan" else cell for title, cell in line.items()})
    table = format_table(list(lines[0]), [list(line.values()) for line in lines])
    over = ", ".join(dict.fromkeys(entry["baseline"] for entry in entries))
    return f"{table}\n\nspeed-up, per image, and time/pixel: over {over}"


def format_size(entry: Entry) -> str:
    """Height and width of an entry's images."""
    return "x".join(map(str, entry["size"]))


def growth_table(entries: Sequence[Entry]) -> str:
    """How time and memory grow with the work, for models that were measured at several sizes.

    Empty if there are none. Both are relative to the growth of the multiply-accumulates from the
    smallest size on: above 1 they grow faster than the work.
    """
    by_model: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry["forward_macs"]):
        by_model.setdefault(f"{entry['label']} batch {entry['batch']}", []).append(entry)
    rows = []
    for label, sizes in by_model.items():
        first = sizes[0]
        for entry in sizes if len(sizes) > 1 else []:
            work = entry["forward_macs"] / first["forward_macs"]
            cells = [f"{entry['median_seconds'] / first['median_seconds'] / work:.2f}", "n/a"]
            if entry["peak_bytes"] is not None:
                cells[1] = f"{entry['peak_bytes'] / first['peak_bytes'] / work:.2f}"
            rows.append([label, format_size(entry), f"{entry['forward_macs'] / 1e9:.1f}", *cells])
    header = ["growth over that of the work", "size", "GMACs", "time", "memory"]
    return format_table(header, rows) if rows else ""


def profile_table(entries: Sequence[Entry], rows: int = 15) -> str:
    """Milliseconds of a step by operator, one column a workload.

    The operators that take longest anywhere stand first, and the last line adds up those that
    have none of their own.
    """
    profiles = [entry["operator_seconds"] for entry in entries]
    names = {name for profile in profiles for name in profile}
    longest = sorted(names, key=lambda name: -max(profile.get(name, 0.0) for profile in profiles))
    cells = []
    for title, group in [*((name, [name]) for name in longest[:rows]), ("others", longest[rows:])]:
        seconds = [sum(profile.get(name, 0.0) for name in group) for profile in profiles]
        cells.append([title[:60], *(f"{1000 * value:.1f}" for value in seconds)])
    numbers = [f"({i})" for i, _ in enumerate(entries, start=1)]
    legend = [
        f"{number} {entry['label']} {format_size(entry)}"
        for number, entry in zip(numbers, entries, strict=True)
    ]
    return "\n".join([format_table(["ms/step, profiled", *numbers], cells), "", *legend])


def machine_lines(machine: Mapping[str, Any], matmuls: Mapping[str, Measurement]) -> str:
    """The machine, its rates of matrix products, and the versions."""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    if "gpu" in machine:
        where = f"{machine['gpu']}, CUDA {machine['cuda']}; {where}"
    rates = ", ".join(
        f"{dtype} {2 * matmul.macs_per_second / 1e9:.0f} GFLOP/s"
        for dtype, matmul in matmuls.items()
    )
    versions = " ".join(f"{name}=={version}" for name, version in machine["versions"].items())
    return f"{where}\nmatmul rate: {rates}\nPython {machine['python']} {versions}"
