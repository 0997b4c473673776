"""Collected tables: figures, states and origins of runs in every condition."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmscalablevit.reproduction import collecting
from mmscalablevit.reproduction.page import to_html
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.report import to_csv, to_markdown, write_reports
from mmscalablevit.runner.resume import note_last
from tests.reproduction.making import (
    train_records,
    write_checkpoint,
    write_config,
    write_metrics,
    write_start,
    write_tables,
)

PROVENANCE = {
    "started": "2026-01-01T00:00:00+00:00",
    "command": "tools/train.py <cls.py>",
    "commit": "0123456789abcdef",
    "dirty": True,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "onedl-mmengine": "0.10.12", "ftfy": "1"},
    "device": "NVIDIA H200",
    "processes": 8,
    "batch_size": 4,
}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    return tmp_path


def collect(*names: str) -> list[collecting.TableReport]:
    tables = load_tables(Path.cwd() / "tables.yml")
    chosen = [tables[name] for name in names or ("both",)]
    return collecting.collect(tables, chosen, Path("runs"), None, Path("runs/tables"))


def figures(reports: list[collecting.TableReport]) -> dict[tuple[str, str], dict[str, str]]:
    """The lines of the CSV by row and column."""
    lines = csv.DictReader(io.StringIO(to_csv(reports)))
    return {(line["row"], line["column"]): line for line in lines}


def write_classifier(epochs: int = 4) -> Path:
    """A classifier that was validated after every second of its epochs of five iterations."""
    records = []
    for epoch in range(1, epochs + 1):
        records += train_records(5 * epoch - 4, 5 * epoch, per_epoch=5)
        if epoch % 2 == 0:
            records.append({"accuracy/top1": 19.87 * epoch, "step": epoch})
    start = write_start(Path("runs/cls"), Path("cls.py"), records)
    (start / "provenance.json").write_text(json.dumps(PROVENANCE))
    write_checkpoint(Path(f"runs/cls/epoch_{epochs}.pth"))
    return start


def write_segmentor() -> None:
    """A segmentor that has come to its end, with its test."""
    records = [*train_records(1, 20), {"mIoU": 51.25, "step": 20}]
    write_start(Path("runs/seg"), Path("seg.py"), records)
    write_checkpoint(Path("runs/seg/iter_20.pth"))
    write_metrics(Path("runs/seg/tta/metrics.json"), "elsewhere/iter_20.pth", mIoU=0.53125)


def test_nothing_there(root):
    assert [line["state"] for line in figures(collect()).values()] == ["", ""] + 3 * ["missing"]
    text = to_markdown(collect())
    assert "| Segmentor |  |  |  | 50.5 | - | - | - | missing |" in text
    assert "| Peer | 70 |  |  | 40 |  |  |  |  |" in text


def test_finished_runs(root):
    write_classifier()
    write_segmentor()
    lines = figures(collect())
    top1, miou, miou_ms = (
        lines[key] for key in (
            ("Classifier", "top1"), ("Segmentor", "miou"), ("Segmentor", "miou_ms")
        )
    )  # fmt: skip
    assert (top1["published"], top1["ours"], top1["difference"]) == ("80", "79.48", "-0.52")
    assert (top1["final"], top1["origin"], top1["state"]) == (
        "True", "validation at epoch 4", "done"
    )  # fmt: skip
    assert top1["commit"] == "0123456789ab with changes"
    assert top1["environment"] == (
        "8 x NVIDIA H200, python 3.11.7, torch 2.13.0, onedl-mmengine 0.10.12"
    )
    assert top1["batch"] == "8 x 4 instead of 2 x 4"
    assert re.fullmatch("[0-9a-f]{12}", top1["config_hash"]) and top1["config_changed"] == ""
    assert (miou["ours"], miou["difference"]) == ("51.25", "0.75")
    assert (miou_ms["ours"], miou_ms["published"], miou_ms["origin"]) == ("53.125", "", "test tta")
    text = to_markdown(collect())
    assert "| Segmentor |  |  |  | 50.5 | 51.25 | +0.75 | 53.12 | done |" in text
    assert "| Classifier | 80 | 79.48 | -0.52 |  |  |  |  | done |" in text
    assert "Also found" not in text and "brackets" not in text


def test_an_unfinished_run_shows_how_far_it_is(root):
    write_classifier(epochs=3)
    line = figures(collect())["Classifier", "top1"]
    assert (line["ours"], line["difference"], line["final"]) == ("39.74", "", "False")
    assert (line["state"], line["progress"]) == ("interrupted", "epoch 3/4")
    text = to_markdown(collect())
    assert "| Classifier | 80 | (39.74) | - |" in text and "In brackets: measured before" in text
    assert "| cls | interrupted, epoch 3/4, goes on from epoch\\_3.pth |" in text


def test_the_checkpoint_of_an_earlier_run_does_not_finish_a_new_one(root):
    write_classifier()
    note_last("runs/cls", "epoch_0_iter_1.pth")
    write_checkpoint(Path("runs/cls/epoch_2_iter_13.pth"))
    line = figures(collect())["Classifier", "top1"]
    assert (line["state"], line["final"]) == ("interrupted", "False")
    assert "goes on from epoch\\_2\\_iter\\_13.pth" in to_markdown(collect())


def test_a_run_whose_config_has_changed_is_marked(root):
    write_classifier()
    before = figures(collect())["Classifier", "top1"]["config_hash"]
    write_config(Path("cls.py"), "max_epochs=4, val_interval=1")
    line = figures(collect())["Classifier", "top1"]
    assert line["config_changed"] == "train_cfg.val_interval: 2 -> 1"
    assert line["config_hash"] == before
    assert '<dd class="warning">train_cfg.val_interval: 2 -&gt; 1</dd>' in re.sub(
        r"\s+<", "<", to_html(collect())
    )


def test_a_lost_final_validation_comes_from_its_test(root):
    start = write_classifier()
    scalars = start / "vis_data" / "scalars.json"
    scalars.write_text("".join(scalars.read_text().splitlines(keepends=True)[:-1]))
    line = figures(collect())["Classifier", "top1"]
    assert (line["ours"], line["final"]) == ("39.74", "False")
    assert "the last validation is lost; launch again" in to_markdown(collect())
    path = Path("runs/cls/final-validation/metrics.json")
    write_metrics(path, "runs/cls/epoch_4.pth", **{"accuracy/top1": 80.5})
    line = figures(collect())["Classifier", "top1"]
    assert (line["ours"], line["final"], line["difference"]) == ("80.5", "True", "0.5")
    assert line["origin"] == "test final-validation"
    assert "is lost" not in to_markdown(collect())


def test_runs_without_a_record_of_their_origin(root):
    """Those of other tools: versions come from MMEngine's log, the commit is not known."""
    start = write_classifier()
    (start / "provenance.json").unlink()
    (start / f"{start.name}.log").write_text(
        "2026/01/01\n----\nSystem environment:\n    sys.platform: linux\n"
        "    Python: 3.10.2 (main)\n    GPU 0,1,2: NVIDIA A100\n    PyTorch: 2.4.0+cu121\n"
        "    MMEngine: 0.10.7\n\nRuntime environment:\n    PyTorch: no\n"
    )
    line = figures(collect())["Classifier", "top1"]
    assert line["environment"] == "NVIDIA A100, python 3.10.2, torch 2.4.0+cu121, mmengine 0.10.7"
    assert line["commit"] == "" and line["ours"] == "79.48"


def test_damage_and_strangers_are_named_and_survived(root):
    start = write_classifier()
    write_segmentor()
    scalars = start / "vis_data" / "scalars.json"
    lines = scalars.read_text().splitlines()
    scalars.write_text("\n".join([lines[0], '{"loss": 0.', *lines[1:]]) + "\n")
    (start / "provenance.json").write_text("{")
    (start / "vis_data" / "config.py").write_text("import os")
    Path("runs/seg/iter_30.pth").write_bytes(b"PK")
    Path("runs/seg/tta/metrics.json").write_text("[]")
    Path("runs/seg/notes").mkdir()
    Path("runs/stranger <b>").mkdir()
    Path("runs/tables").mkdir()
    reports = collect()
    assert figures(reports)["Classifier", "top1"]["ours"] == "79.48"
    assert figures(reports)["Segmentor", "miou"]["ours"] == "51.25"
    text = to_markdown(reports).replace("\\", "")
    for problem in (
        "scalars.json: damaged lines: 2",
        "20260101_000000/provenance.json is damaged: it holds no JSON object",
        "config.py is damaged: it is no config that was dumped",
        "runs/seg/iter_30.pth is not a whole checkpoint",
        "runs/seg/tta/metrics.json is damaged: it holds no JSON object",
        "runs/seg/notes: neither a start of the run nor one of its tests",
        "belongs to no table: stranger <b>",
    ):
        assert problem in text, problem
    assert "runs/tables" not in text
    assert "stranger &lt;b&gt;" in to_html(reports) and "<b>" not in to_html(reports)


def test_a_metric_that_the_log_has_not_is_named(root):
    records = [*train_records(1, 20), {"IoU.mIoU": 51.25, "step": 20}]
    write_start(Path("runs/seg"), Path("seg.py"), records)
    write_checkpoint(Path("runs/seg/iter_20.pth"))
    text = to_markdown(collect()).replace("\\", "")
    assert "validation at iteration 20 has no mIoU; it has IoU.mIoU" in text


class Links(HTMLParser):
    """Collects what a page refers to, and checks that its tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_its_curves_and_needs_no_other_file(root):
    write_classifier(epochs=3)
    page = Links(to_html(collect()))
    assert not page.open
    (picture,) = page.addresses
    kind, _, data = picture.partition(";base64,")
    assert kind == "data:image/svg+xml"
    svg = base64.b64decode(data).decode()
    assert svg.rstrip().endswith("</svg>")
    assert not re.search(r'(href|src)="(?!#)|@import|url\((?!#)', svg)
    text = to_html(collect())
    assert "tools/train.py &lt;cls.py&gt;" in text and "interrupted" in text


def test_files_are_written_for_several_tables_together(root):
    write_classifier()
    reports = collect("both", "dense")
    paths = write_reports(reports, Path("out"), "t")
    assert [path.name for path in paths] == ["t.md", "t.csv", "t.html"]
    text = paths[0].read_text()
    assert text.count("| cls |") == text.count("# Runs") == 1
    assert "# Both" in text and "# Dense" in text
    assert paths[2].read_text().count("learning curves of cls") == 1
    assert [path.name for path in sorted(Path("out").iterdir())] == ["t.csv", "t.html", "t.md"]
