"""READMEs and metafiles are written from the tables, and up to date.

The files themselves show what is written; here is what they don't show.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmscalablevit import files
from mmscalablevit.errors import UsageError
from mmscalablevit.models.complexity import Complexity
from mmscalablevit.reproduction import documents
from mmscalablevit.reproduction.counting import Count, Counter
from mmscalablevit.reproduction.documents import Entry, fill_metafile, fill_regions
from mmscalablevit.reproduction.plan import Schedule
from mmscalablevit.reproduction.published import Metric, Row, Run, Table
from tests.reproduction.making import ROOT, load_tool

FOLDER = ROOT / "configs/segmentation/scalablevit"
README = FOLDER / "README.md"
HEADER = "# A comment\nCollections:\n  - {Name: A, Metadata: {Training Data: ADE20K}}\n\nModels:\n"


@pytest.fixture
def entries() -> list[Entry]:
    """A segmentor of 30 M parameters and its variant, of which no size is printed."""
    runs = [Run(FOLDER / name, {"miou": Metric("mIoU")}) for name in ("a.py", "b.py")]
    row = Row("Ours", {"params": 29, "flops": 99, "miou": 41.5}, runs=tuple(runs))
    table = Table("Title", "A paper, Table 4", (512, 2048), {}, (row,), key="4-upernet")
    complexity = Complexity(30_000_000, {"mm": 98_700_000_000, "bmm": 1_000_000_000})
    count, schedule = Count((512, 2048), complexity, "layers"), Schedule(False, 80000, 4, 4)
    return [Entry(table, row, run, Config(), schedule, count, run is runs[0]) for run in runs]


def test_a_readmes_tables_are_filled_and_nothing_else_changes(entries: list[Entry]) -> None:
    text = (
        "Before\n\n<!-- table: 4-upernet -->\n<!-- end -->\n\nBetween\n\n"
        "<!-- table: 4-upernet -->\n| old |\n<!-- end -->\n\nAfter\n"
    )
    filled = fill_regions(text, README, entries)
    lines = filled.splitlines()
    assert [x for x in lines if x[:1] != "|"] == [x for x in text.splitlines() if x[:1] != "|"]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    assert table[4:] == table[:4]
    assert table[2] == ["Ours", "30.00", "29", "98.70", "99", "41.5", "[config](a.py)"]
    assert table[3] == ["Ours", "30.00", "", "98.70", "", "41.5", "[config](b.py)"]
    assert fill_regions(filled, README, entries) == filled


def test_links_of_all_models_are_relative_to_their_text(entries: list[Entry]) -> None:
    text = "<!-- table: models -->\n<!-- end -->\n"
    here = fill_regions(text, ROOT / "README.md", entries)
    assert "(configs/segmentation/scalablevit/a.py)" in here
    there = fill_regions(text, ROOT / "docs/models/index.md", entries)
    assert "(../../configs/segmentation/scalablevit/a.py)" in there


def test_a_table_that_is_not_there_is_named(entries: list[Entry]) -> None:
    with pytest.raises(UsageError, match=r"README\.md: no table 9; there are 4-upernet"):
        fill_regions("<!-- table: 9 -->\n<!-- end -->\n", README, entries)


def test_a_metafile_keeps_its_head_and_says_only_what_is_printed(entries: list[Entry]) -> None:
    entries[1] = replace(entries[1], row=replace(entries[1].row, published={}))
    text = fill_metafile(HEADER + "  - Name: old\n", entries, ROOT)
    assert text.startswith(HEADER)
    first, second = yaml.safe_load(text)["Models"]
    assert first["Published"]["FLOPs (G)"] == 99 and first["Results"][0]["Metrics"] == {
        "mIoU": 41.5
    }
    assert second.keys() == {"Name", "In Collection", "Config", "Metadata"}


@pytest.mark.slow
def test_all_documents_are_up_to_date(counter: Counter) -> None:
    outdated = documents.outdated(counter)
    assert not outdated, "run `python tools/reproduce.py docs`"


def test_every_config_is_linked() -> None:
    folders = [path.parent for path in (ROOT / "configs").glob("*/*/metafile.yml")]
    assert len(folders) == 9
    for folder in folders:
        readme = (folder / "README.md").read_text(encoding="utf-8")
        missing = [path.name for path in folder.glob("*.py") if f"({path.name})" not in readme]
        assert not missing


def test_the_tool_writes_what_is_outdated_or_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("old\n")
    monkeypatch.setattr(documents, "outdated", lambda counter, progress: {file: "new\n"})
    monkeypatch.chdir(tmp_path)
    main = load_tool()["main"]
    with pytest.raises(SystemExit, match=r"outdated: README\.md; run `python tools/reproduce"):
        main(["docs", "--check"])
    assert file.read_text() == "old\n"
    main(["docs"])
    assert file.read_text() == "new\n"
    assert capsys.readouterr().out == f"written: {file}\n"


def test_an_installed_package_has_no_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/published.yml").write_text("tables: {}")
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "mmscalablevit")
    with pytest.raises(UsageError, match="docs writes the files of a checkout"):
        documents.outdated(Counter())
