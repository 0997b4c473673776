"""Collected tables: figures, states and origins of runs in every condition."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mmscalablevit.reproduction import report as reports
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.report import to_csv, to_markdown
from tests.reproduction.making import (
    load_tool,
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
    "config_hash": "feedbeef0123",
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


def collect(*names: str) -> reports.Report:
    tables = load_tables(Path.cwd() / "tables.yml")
    chosen = [tables[name] for name in names or ("both",)]
    return reports.collect(tables, chosen, Path("runs"), Path("runs/tables"))


def figures() -> dict[tuple[str, str], dict[str, str]]:
    """The lines of the CSV by row and column."""
    lines = csv.DictReader(io.StringIO(to_csv(collect())))
    return {(line["row"], line["column"]): line for line in lines}


def cells() -> dict[str, list[str]]:
    """The cells of the Markdown table by row."""
    lines = [line for line in to_markdown(collect()).splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: rest for name, *rest in split}


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
    assert [line["state"] for line in figures().values()] == ["", ""] + 3 * ["missing"]
    assert cells()["Segmentor"] == ["", "", "", "50.5", "-", "-", "-", "missing"]
    assert cells()["Peer"] == ["70", "", "", "40", "", "", "", ""]
    assert "- missing: cls, seg\n" in to_markdown(collect())


def test_finished_runs(root):
    write_classifier()
    write_segmentor()
    lines = figures()
    top1, miou = lines["Classifier", "top1"], lines["Segmentor", "miou"]
    assert (top1["published"], top1["ours"], top1["difference"]) == ("80", "79.48", "-0.52")
    assert (top1["final"], top1["origin"]) == ("True", "validation at epoch 4")
    assert (top1["state"], top1["config_hash"]) == ("done", "feedbeef0123")
    assert top1["commit"] == "0123456789ab with changes"
    assert top1["environment"] == (
        "8 x NVIDIA H200, python 3.11.7, torch 2.13.0, onedl-mmengine 0.10.12"
    )
    assert (top1["batch"], top1["config_changed"]) == ("8 x 4 instead of 2 x 4", "")
    assert (miou["ours"], miou["difference"]) == ("51.25", "0.75")
    tested = lines["Segmentor", "miou_ms"]
    assert (tested["ours"], tested["published"], tested["origin"]) == ("53.125", "", "test tta")
    assert cells()["Segmentor"] == ["", "", "", "50.5", "51.25", "+0.75", "53.12", "done"]
    assert cells()["Classifier"] == ["80", "79.48", "-0.52", "", "", "", "", "done"]
    text = to_markdown(collect("both", "dense"))
    assert "Also found" not in text and "brackets" not in text
    assert "# Both" in text and "# Dense" in text
    assert text.count("- cls: done") == text.count("# Runs") == 1
    assert "  - command: tools/train.py \\<cls.py>\n" in text


def test_an_unfinished_run_shows_how_far_it_is(root):
    write_classifier(epochs=3)
    line = figures()["Classifier", "top1"]
    assert (line["ours"], line["difference"], line["final"]) == ("39.74", "", "False")
    assert (line["state"], line["progress"]) == ("interrupted", "epoch 3/4")
    assert cells()["Classifier"][:3] == ["80", "(39.74)", "-"]
    text = to_markdown(collect())
    assert "In brackets: measured before the end" in text
    assert "- cls: interrupted, epoch 3/4, goes on from epoch_3.pth\n" in text


def test_a_run_whose_config_has_changed_is_marked(root):
    write_classifier()
    write_config(Path("cls.py"), "max_epochs=4, val_interval=1")
    assert figures()["Classifier", "top1"]["config_changed"] == "train_cfg.val_interval: 2 -> 1"
    assert "  - config changed: train_cfg.val_interval: 2 -> 1\n" in to_markdown(collect())
    Path("runs/cls/20260101_000000/config.json").unlink()  # by an earlier version
    assert "its hash was feedbeef0123" in figures()["Classifier", "top1"]["config_changed"]


def test_a_lost_final_validation_comes_from_its_test(root):
    start = write_classifier()
    scalars = start / "vis_data" / "scalars.json"
    scalars.write_text("".join(scalars.read_text().splitlines(keepends=True)[:-1]))
    line = figures()["Classifier", "top1"]
    assert (line["ours"], line["final"]) == ("39.74", "False")
    assert "the last validation is lost; launch again" in to_markdown(collect())
    path = Path("runs/cls/final-validation/metrics.json")
    write_metrics(path, "runs/cls/epoch_4.pth", **{"accuracy/top1": 80.5})
    line = figures()["Classifier", "top1"]
    assert (line["ours"], line["final"], line["difference"]) == ("80.5", "True", "0.5")
    assert line["origin"] == "test final-validation"
    assert "is lost" not in to_markdown(collect())


def test_damage_and_strangers_are_named_and_survived(root):
    start = write_classifier()
    write_segmentor()
    scalars = start / "vis_data" / "scalars.json"
    lines = scalars.read_text().splitlines()
    scalars.write_text("\n".join([lines[0], '{"loss": 0.', *lines[1:]]) + "\n")
    (start / "provenance.json").write_text("{")
    (start / "config.json").write_text("[1]")
    Path("runs/seg/iter_30.pth").write_bytes(b"PK")
    Path("runs/seg/tta/metrics.json").write_text("[]")
    Path("runs/seg/notes").mkdir()
    Path("runs/stranger <b>").mkdir()
    Path("runs/tables").mkdir()
    assert figures()["Classifier", "top1"]["ours"] == "79.48"
    assert figures()["Segmentor", "miou"]["ours"] == "51.25"
    text = to_markdown(collect())
    for problem in (
        "scalars.json: damaged lines: 2",
        "20260101_000000/provenance.json is damaged: it holds no JSON object",
        "20260101_000000/config.json is damaged: it holds no JSON object",
        "runs/seg/iter_30.pth is not a whole checkpoint",
        "runs/seg/tta/metrics.json is damaged: it holds no JSON object",
        "runs/seg/notes: neither a start of the run nor one of its tests",
        "belongs to no table: stranger \\<b>",
    ):
        assert problem in text, problem
    assert "runs/tables" not in text


def test_a_metric_that_the_log_has_not_is_named(root):
    records = [*train_records(1, 20), {"IoU.mIoU": 51.25, "step": 20}]
    write_start(Path("runs/seg"), Path("seg.py"), records)
    write_checkpoint(Path("runs/seg/iter_20.pth"))
    text = to_markdown(collect())
    assert "seg: validation at iteration 20 has no mIoU; it has IoU.mIoU" in text


def test_the_tool_writes_beside_the_runs_and_does_not_take_that_for_a_run(root, capsys):
    main = load_tool()["main"]
    main(["collect", "both", "dense", "--tables", "tables.yml", "--out", "elsewhere"])
    assert capsys.readouterr().err == "there is no folder work_dirs: every run is missing\n"
    assert {path.name for path in Path("elsewhere").iterdir()} == {
        "table_both_dense.md", "table_both_dense.csv"
    }  # fmt: skip
    Path("work_dirs").mkdir()
    for _ in range(2):
        main(["collect", "--tables", "tables.yml"])
    place = Path("work_dirs/tables")
    written = f"written: {place}/tables.md\nwritten: {place}/tables.csv\n"
    assert capsys.readouterr() == (2 * written, "")
    assert "Also found" not in (place / "tables.md").read_text()
    Path("file").touch()
    with pytest.raises(SystemExit, match="cannot write to file"):
        main(["collect", "--tables", "tables.yml", "--out", "file"])
