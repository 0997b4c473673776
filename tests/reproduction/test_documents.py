"""READMEs and metafiles are written from the tables, and up to date."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmscalablevit.errors import UsageError
from mmscalablevit.models.complexity import Complexity
from mmscalablevit.reproduction import documents
from mmscalablevit.reproduction.counting import Counter
from mmscalablevit.reproduction.documents import Entry, fill_metafile, fill_regions
from mmscalablevit.reproduction.plan import Schedule
from mmscalablevit.reproduction.published import ROOT, Metric, Row, Run, Table, Test

FOLDER = ROOT / "configs/segmentation/scalablevit"
HEADER = """# A comment
Collections:
  - Name: Family
    Metadata:
      Training Data: ADE20K

Models:
"""


@pytest.fixture
def entries() -> list[Entry]:
    """A segmentor of 30 M parameters and its variant, of which no size is printed."""
    test = Test("tta", ("--tta",), {"ms": Metric("mIoU")})
    runs = [
        Run(FOLDER / f"{name}.py", None, {"miou": Metric("mIoU")}, (test,) if name == "b" else ())
        for name in "ab"
    ]
    published = {"params": 29, "flops": 99, "miou": 41.5, "ms": 42.5}
    row = Row("Ours", "", published, {"miou": "41.4 elsewhere"}, None, None, tuple(runs))
    table = Table("4-upernet", "Title", "A paper, Table 4", (512, 2048), {}, (row,))
    schedules = [Schedule(False, 80000, 4, 4), Schedule(False, 160000, 2, 8)]
    counts = Complexity(30_000_000, {"mm": 98_700_000_000, "bmm": 1_000_000_000})
    return [
        Entry(table, row, run, Config(), schedule, (512, 2048), counts, run is runs[0])
        for run, schedule in zip(runs, schedules, strict=True)
    ]


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_readmes_tables_are_filled_and_nothing_else_changes(entries: list[Entry]) -> None:
    text = (
        "Before\n\n<!-- table: 4-upernet -->\n<!-- end -->\n\nBetween\n\n"
        "<!-- table: 4-upernet -->\n| old |\n<!-- end -->\n\nAfter\n"
    )
    filled = fill_regions(text, FOLDER, entries)
    outside = [line for line in filled.splitlines() if not line.startswith("|")]
    assert outside == [line for line in text.splitlines() if line != "| old |"]
    header, _, first, second = cells(filled)[:4]
    assert cells(filled)[4:] == [header, cells(filled)[1], first, second]
    assert dict(zip(header, first, strict=True))["schedule"] == "80000 iterations"
    assert first == [
        *("Ours", "80000 iterations", "30.00", "29", "98.70", "99", "41.5", "", "[config](a.py)"),
    ]
    assert second == [
        *("Ours", "160000 iterations", "30.00", "", "98.70", "", "41.5", "42.5", "[config](b.py)"),
    ]
    assert fill_regions(filled, FOLDER, entries) == filled


def test_all_models_are_linked_from_where_the_readme_lies(entries: list[Entry]) -> None:
    filled = fill_regions("<!-- table: models -->\n<!-- end -->\n", ROOT, entries)
    _, _, first, second = cells(filled)
    assert first[0] == "[ADE20K, UperNet](configs/segmentation/scalablevit)"
    assert first[1] == "[Ours, 80000 iterations](configs/segmentation/scalablevit/a.py)"
    assert second[0] == ""
    assert second[-1] == "41.5 mIoU, 42.5 mIoU (multi-scale, flip)"


def test_of_everything_the_flops_have_all(entries: list[Entry]) -> None:
    table = replace(entries[0].table, key="stvit-upernet", flops="everything")
    entry = replace(entries[0], table=table)
    filled = fill_regions("<!-- table: stvit-upernet -->\n<!-- end -->\n", FOLDER, [entry])
    header, _, line = cells(filled)
    assert dict(zip(header, line, strict=True))["FLOPs (G)"] == "99.70"
    (model,) = yaml.safe_load(fill_metafile(HEADER, [entry]))["Models"]
    assert model["Metadata"]["FLOPs"] == model["Metadata"]["FLOPs (everything counted)"]


def test_a_model_without_printed_figures_has_no_results(entries: list[Entry]) -> None:
    row = replace(entries[0].row, published={}, notes={})
    (model,) = yaml.safe_load(fill_metafile(HEADER, [replace(entries[0], row=row)]))["Models"]
    assert model.keys() == {"Name", "In Collection", "Config", "Metadata"}


def test_other_backbones_have_a_table_of_their_own(entries: list[Entry]) -> None:
    table = replace(entries[0].table, key="lvt-segformer")
    filled = fill_regions(
        "<!-- table: other-models -->\n<!-- end -->\n",
        ROOT,
        [replace(entries[0], table=table), entries[1]],
    )
    assert len(cells(filled)) == 3 and "SegFormer" in cells(filled)[2][0]


def test_a_table_that_is_not_there_is_named(entries: list[Entry]) -> None:
    with pytest.raises(UsageError, match=r"README\.md: no table 9; there are 4-upernet"):
        fill_regions("<!-- table: 9 -->\n<!-- end -->\n", FOLDER, entries)


def test_a_metafile_keeps_its_head(entries: list[Entry]) -> None:
    text = fill_metafile(HEADER + "  - Name: old\n", entries)
    assert text.startswith(HEADER)
    first, second = yaml.safe_load(text)["Models"]
    assert first == {
        "Name": "a",
        "In Collection": "Family",
        "Config": "configs/segmentation/scalablevit/a.py",
        "Metadata": {
            "Training Data": "ADE20K",
            "Iterations": 80000,
            "Batch Size": 16,
            "Training Resources": "4 GPUs",
            "Input Size": [512, 2048],
            "Parameters": 30_000_000,
            "FLOPs": 98_700_000_000,
            "FLOPs (everything counted)": 99_700_000_000,
        },
        "Published": {
            "Source": "A paper, Table 4",
            "Row": "Ours",
            "Parameters (M)": 29,
            "FLOPs (G)": 99,
            "Notes": ["41.4 elsewhere"],
        },
        "Results": [
            {"Task": "Semantic Segmentation", "Dataset": "ADE20K", "Metrics": {"mIoU": 41.5}}
        ],
    }
    assert second["Published"].keys() == {"Source", "Row", "Notes"}
    assert second["Results"][0]["Metrics"] == {"mIoU": 41.5, "mIoU(ms+flip)": 42.5}


@pytest.mark.slow
def test_all_documents_are_up_to_date(counter: Counter) -> None:
    outdated = documents.outdated(counter)
    assert not outdated, "run `python tools/reproduce.py docs`"


@pytest.mark.parametrize(
    "folder", documents.FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_every_config_is_linked(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in folder.glob("*.py")}
    linked = {name for name in names if f"({name})" in readme}
    assert names == linked


def test_the_tool_writes_what_is_outdated_or_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("old\n")
    monkeypatch.setattr(documents, "outdated", lambda counter, progress: {file: "new\n"})
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "tools/reproduce.py"))["main"]
    with pytest.raises(
        SystemExit, match=r"outdated: README\.md; run `python tools/reproduce.py do"
    ):
        main(["docs", "--check"])
    assert file.read_text() == "old\n"
    main(["docs"])
    assert file.read_text() == "new\n"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert "written to" in capsys.readouterr().out
