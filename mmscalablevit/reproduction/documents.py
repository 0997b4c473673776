"""The tables of READMEs, of docs/models and of metafiles, from the published figures and counts.

In a text a table stands between ``<!-- table: KEY -->`` and ``<!-- end -->``; KEY is that of a
published table, whose rows in the text's folder are shown, or one of :data:`MODELS` for models
of all tasks. Of a metafile everything from ``Models:`` on is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from mmengine.config import Config

from mmscalablevit.errors import UsageError
from mmscalablevit.files import find_configs
from mmscalablevit.reproduction.counting import Count, Counter
from mmscalablevit.reproduction.plan import Schedule, read_schedule
from mmscalablevit.reproduction.published import Row, Run, Table, load_tables
from mmscalablevit.reproduction.tables import markdown

# Tables of models with published results, in contrast to those of their variants, by the task's
# name: what a README shows together.
MODELS = {
    "models": {
        "2": "ImageNet-1K",
        "3-retinanet": "COCO, RetinaNet",
        "3-mask-rcnn": "COCO, Mask R-CNN",
        "4-semantic-fpn": "ADE20K, Semantic FPN",
        "4-upernet": "ADE20K, UperNet",
    },
    "other-models": {
        "stvit-imagenet-224": "ImageNet-1K",
        "stvit-imagenet-384": "ImageNet-1K at 384",
        "lvt-imagenet": "ImageNet-1K",
        "lvt-segformer": "ADE20K, SegFormer",
        "lvt-panoptic": "COCO, Panoptic FPN",
    },
}
_REGION = re.compile(r"(<!-- table: ([\w-]+) -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)
_MODELS_KEY = "\nModels:\n"

# Task, data set and name that metafiles have for a metric, by its key in the logs.
_METRICS = {
    "accuracy/top1": ("Image Classification", "ImageNet-1k", "Top 1 Accuracy"),
    "mIoU": ("Semantic Segmentation", "ADE20K", "mIoU"),
}
for _kind in ("", "_50", "_75", "_s", "_m", "_l"):
    _METRICS[f"coco/bbox_mAP{_kind}"] = ("Object Detection", "COCO", f"box AP{_kind[1:]}")
    _METRICS[f"coco/segm_mAP{_kind}"] = ("Instance Segmentation", "COCO", f"mask AP{_kind[1:]}")
for _kind in ("", "_th", "_st"):
    _METRICS[f"coco_panoptic/PQ{_kind}"] = ("Panoptic Segmentation", "COCO", f"PQ{_kind}")
_MULTI_SCALE = "mIoU(ms+flip)"
# What READMEs show of these, and under which title.
_HEADLINES = {
    "Top 1 Accuracy": "top-1",
    "box AP": "box AP",
    "mask AP": "mask AP",
    "PQ": "PQ",
    "PQ_th": "PQ of things",
    "PQ_st": "PQ of stuff",
    "mIoU": "mIoU",
    _MULTI_SCALE: "mIoU (multi-scale, flip)",
}


@dataclass(frozen=True)
class Entry:
    """A training run of a row of a table."""

    table: Table
    row: Row
    run: Run
    cfg: Config
    schedule: Schedule
    count: Count
    same_model: bool  # as the one that the row gives the parameters and FLOPs of

    @property
    def published(self) -> dict[str, float]:
        """Published parameters and FLOPs of this model."""
        known = self.row.published if self.same_model else {}
        return {key: known[key] for key in ("params", "flops") if key in known}

    @property
    def length(self) -> str:
        """The schedule in words; of detectors in multiples of 12 epochs, as papers have it."""
        schedule = self.schedule
        detection = self.cfg.get("default_scope") == "mmdet"
        if detection and schedule.by_epoch and schedule.length % 12 == 0:
            return f"{schedule.length // 12}x"
        return f"{schedule.length} {schedule.unit}s"

    def results(self) -> list[tuple[str, str, str, float]]:
        """Published results of this run: task, data set, metric and value."""
        found = []
        for column, metric in self.run.columns.items():
            task, dataset, name = _METRICS[metric.key]
            if name == "mIoU" and column not in self.run.metrics:
                name = _MULTI_SCALE
            if column in self.row.published:
                found.append((task, dataset, name, self.row.published[column]))
        return found

    def headlines(self) -> dict[str, float]:
        """The results that READMEs show, by their titles."""
        return {_HEADLINES[name]: value for *_, name, value in self.results() if name in _HEADLINES}


def outdated(counter: Counter, progress: Callable[[], object] = lambda: None) -> dict[Path, str]:
    """Write all documents anew.

    Args:
        counter: Counts the models.
        progress: Called after each.

    Returns:
        The new texts of the files that have another.

    Raises:
        UsageError: A table that a text names does not exist, or there are no READMEs here.
    """
    root = find_configs().parent
    texts = [root / "README.md", root / "docs/models/index.md"]
    if not texts[0].is_file():
        raise UsageError(f"there is no {texts[0]}: docs writes the files of a checkout")
    entries = _read_entries(counter, progress)
    folders = dict.fromkeys(entry.run.config.parent for entry in entries)
    texts += [folder / "README.md" for folder in folders]
    new = {text: fill_regions(text.read_text("utf-8"), text, entries) for text in texts}
    for folder in folders:
        old = (folder / "metafile.yml").read_text(encoding="utf-8")
        own = [entry for entry in entries if entry.run.config.parent == folder]
        new[folder / "metafile.yml"] = fill_metafile(old, own, root)
    return {path: text for path, text in new.items() if text != path.read_text(encoding="utf-8")}


def _read_entries(counter: Counter, progress: Callable[[], object]) -> list[Entry]:
    entries: list[Entry] = []
    for table in load_tables().values():
        for row in table.rows:
            for run in row.runs:
                cfg = counter.read(run.config)
                same = cfg.model == counter.read(row.runs[0].config).model
                size = table.input_size if same else counter.default_size(run.config)
                count = counter.count(run.config, size, table.flops)
                schedule = read_schedule(run.config, cfg)
                entries.append(Entry(table, row, run, cfg, schedule, count, same))
                progress()
    return entries


def fill_regions(text: str, file: Path, entries: list[Entry]) -> str:
    """Write the tables of the text of a file.

    Raises:
        UsageError: It names a table that does not exist.
    """
    folder = file.parent
    keys = dict.fromkeys(entry.table.key for entry in entries)

    def fill(match: re.Match[str]) -> str:
        key = match[2]
        if key in MODELS:
            table = models_table(MODELS[key], entries, folder)
        elif key in keys:
            own = [e for e in entries if e.table.key == key and e.run.config.parent == folder]
            table = rows_table(own)
        else:
            raise UsageError(f"{file}: no table {key}; there are {', '.join(keys)}")
        return f"{match[1]}{table}\n{match[3]}"

    return _REGION.sub(fill, text)


def rows_table(entries: list[Entry]) -> str:
    """Lay runs of one table out, schedule by schedule, with the counts beside the print."""
    entries = sorted(entries, key=lambda entry: entry.schedule.length)  # keeps the order of rows
    schedules = len({entry.schedule for entry in entries}) > 1
    print_known = any(entry.published for entry in entries)
    titles = list(dict.fromkeys(title for entry in entries for title in entry.headlines()))
    published = ["published"] if print_known else []
    header = ["model", *(["schedule"] if schedules else []), "params (M)", *published]
    header += ["FLOPs (G)", *published, *titles, "config"]
    lines = []
    for entry in entries:
        line = [entry.row.name, *([entry.length] if schedules else [])]
        for key, counted in entry.count.texts.items():
            line += [counted, *([str(entry.published.get(key, ""))] if print_known else [])]
        headlines = entry.headlines()
        line += [str(headlines.get(title, "")) for title in titles]
        lines.append([*line, f"[config]({entry.run.config.name})"])
    left = {i for i, title in enumerate(header) if title in ("model", "schedule", "config")}
    return markdown(header, lines, left)


def models_table(tasks: Mapping[str, str], entries: list[Entry], folder: Path) -> str:
    """Lay the models of several tables out; links are relative to a folder."""
    lines = []
    for key, task in tasks.items():
        chosen = [entry for entry in entries if entry.table.key == key]
        schedules = len({entry.schedule for entry in chosen}) > 1
        for i, entry in enumerate(sorted(chosen, key=lambda entry: entry.schedule.length)):
            config = Path(os.path.relpath(entry.run.config, folder))
            name = entry.row.name + (f", {entry.length}" if schedules else "")
            results = ", ".join(f"{value} {title}" for title, value in entry.headlines().items())
            link = f"[{task}]({config.parent.as_posix()})" if i == 0 else ""
            model = f"[{name}]({config.as_posix()})"
            lines.append([link, model, *entry.count.texts.values(), results])
    return markdown(["task", "config", "params (M)", "FLOPs (G)", "published"], lines, {0, 1, 4})


def fill_metafile(text: str, entries: list[Entry], root: Path) -> str:
    """Write the models of a metafile below what it says of its collection.

    A config is listed once: by the first row that gives its model's size, or else the first at all.
    Its path is relative to ``root``.
    """
    header, _, _ = text.partition(_MODELS_KEY)
    collection = yaml.safe_load(header)["Collections"][0]
    homes: dict[Path, Entry] = {}
    for entry in entries:
        known = homes.setdefault(entry.run.config, entry)
        if entry.published and not known.published:
            homes[entry.run.config] = entry
    models = [_yaml([_model(entry, collection, root)]) for entry in homes.values()]
    return header + _MODELS_KEY + "\n".join(models)


def _model(entry: Entry, collection: dict[str, Any], root: Path) -> dict[str, Any]:
    schedule, count, row = entry.schedule, entry.count, entry.row
    model: dict[str, Any] = {
        "Name": entry.run.config.stem,
        "In Collection": collection["Name"],
        "Config": entry.run.config.relative_to(root).as_posix(),
        "Metadata": {
            "Training Data": collection["Metadata"]["Training Data"],
            "Epochs" if schedule.by_epoch else "Iterations": schedule.length,
            "Batch Size": schedule.gpus * schedule.batch_size,
            "Training Resources": f"{schedule.gpus} GPUs",
            "Input Size": "x".join(map(str, count.size)),
            "Parameters": count.complexity.parameters,
            "FLOPs": count.macs,
            "FLOPs (everything counted)": count.complexity.total_macs,
        },
    }
    if row.published:
        units = {"params": "Parameters (M)", "flops": "FLOPs (G)"}
        model["Published"] = {"Source": entry.table.source, "Row": row.name}
        model["Published"] |= {units[key]: value for key, value in entry.published.items()}
        columns = [*entry.published, *entry.run.columns]
        if notes := [row.notes[column] for column in columns if column in row.notes]:
            model["Published"]["Notes"] = notes
    results: dict[tuple[str, str], dict[str, float]] = {}
    for task, dataset, name, value in entry.results():
        results.setdefault((task, dataset), {})[name] = value
    if results:
        model["Results"] = [
            {"Task": task, "Dataset": dataset, "Metrics": metrics}
            for (task, dataset), metrics in results.items()
        ]
    return model


class _Dumper(yaml.SafeDumper):
    """Indents lists, as OpenMMLab's metafiles do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _yaml(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))
