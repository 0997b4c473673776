"""The loader of published figures, on files of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.published import Column, Metric, load_tables, select_tables

TABLES = """
tables:
  '1':
    title: A title
    source: A paper, Table 1
    input_size: [800, 1280]
    columns:
      params: {title: Params, unit: M}
      ap: {title: AP}
    rows:
      - {name: Other, group: small, peer: other, published: {params: 29, ap: 81.3}}
      - {name: Lost, missing: nobody has it, published: {}}
      - name: Ours
        published: {ap: 40.5}
        notes: {params: not printed}
        runs:
          - config: configs/a.py
            metrics: {ap: {key: coco/bbox_mAP, scale: 100}}
          - config: configs/b.py
            needs: configs/a.py
            metrics: {}
            tests:
              - {name: tta, arguments: [--eval, bbox, --tta], metrics: {ap: {key: AP}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    for name in "ab":
        (tmp_path / f"configs/{name}.py").touch()
    path = tmp_path / "configs/published.yml"
    path.write_text(TABLES)
    return path


def test_reads_all(file: Path) -> None:
    (table,) = load_tables(file).values()
    assert (table.key, table.title, table.source) == ("1", "A title", "A paper, Table 1")
    assert table.input_size == (800, 1280)
    assert table.flops == "layers"
    assert table.columns == {"params": Column("Params", "M"), "ap": Column("AP", "")}
    other, lost, ours = table.rows
    assert (other.group, other.peer, other.missing, other.runs) == ("small", "other", None, ())
    assert other.published == {"params": 29, "ap": 81.3}
    assert (lost.peer, lost.missing, lost.published) == (None, "nobody has it", {})
    assert ours.notes == {"params": "not printed"}
    first, second = ours.runs
    root = file.parents[1]
    assert (first.config, first.needs, first.tests) == (root / "configs/a.py", None, ())
    assert first.metrics == {"ap": Metric("coco/bbox_mAP", 100)}
    assert second.needs == first.config
    (test,) = second.tests
    assert (test.name, test.arguments) == ("tta", ("--eval", "bbox", "--tta"))
    assert test.metrics == {"ap": Metric("AP", 1)}


def test_a_table_says_what_its_flops_have_in_them(file: Path) -> None:
    text = TABLES.replace("    columns:\n", "    flops: everything\n    columns:\n")
    file.write_text(text)
    assert load_tables(file)["1"].flops == "everything"
    file.write_text(text.replace("everything", "all"))
    with pytest.raises(UsageError, match="1, flops: must be layers or everything"):
        load_tables(file)


def test_paths_of_a_users_file_begin_at_its_folder(file: Path) -> None:
    own = file.parents[1] / "own.yml"
    file.rename(own)
    assert load_tables(own)["1"].rows[2].runs[0].config == own.parent / "configs/a.py"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    title: A title\n", "", "1: title is missing"),
        ("'1':", "1:", "the key 1 must be a string"),
        ("tables:", "table:", "unknown table; known are tables"),
        ("[800, 1280]", "[800]", "1, input_size: must be height and width"),
        ("{params: 29,", "{size: 29,", "Other, published: there is no column size"),
        ("params: 29,", "params: '29',", "Other, published, params: must be a number, not '29'"),
        ("peer: other", "peers: other", "Other: unknown peers; known are name, published, group"),
        (" peer: other,", "", "1, Other: must have one of runs, peer and missing"),
        ("name: Lost", "name: Other", "1, Other: the table has another row of this name"),
        ("name: Ours", "title: Ours", "rows 3: unknown title"),
        ("{params: not printed}", "{note: x}", "Ours, notes: there is no column note"),
        ("config: configs/b.py", "config: configs/c.py", "runs 2, config: config .*c.py does not"),
        ("scale: 100", "scala: 100", "metrics, ap: unknown scala; known are key, scale"),
        ("{key: AP}", "AP", "tests 1, metrics, ap: must be a mapping, not 'AP'"),
        ("[--eval, bbox, --tta]", "--tta", "arguments: must be a list, not '--tta'"),
        ("rows:", "rows: [", "cannot be read"),
    ],
)
def test_complaints_name_the_place(file: Path, old: str, new: str, message: str) -> None:
    assert old in TABLES
    file.write_text(TABLES.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_tables(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yml cannot be read"):
        load_tables(tmp_path / "none.yml")


def test_tables_are_chosen_by_key_or_by_number(file: Path) -> None:
    table = load_tables(file)["1"]
    tables = dict.fromkeys(("2", "3-retinanet", "3-mask-rcnn", "31", "5a", "5b"), table)
    for i, key in enumerate(tables):
        tables[key] = type(table)(key, f"{i}", "", (1, 1), {}, ())
    chosen = {
        name: [table.key for table in select_tables(tables, [name])]
        for name in ("2", "3", "5", "5b", "31")
    }
    assert chosen == {
        "2": ["2"],
        "3": ["3-retinanet", "3-mask-rcnn"],
        "5": ["5a", "5b"],
        "5b": ["5b"],
        "31": ["31"],
    }
    assert [table.key for table in select_tables(tables, [])] == list(tables)
    assert [table.key for table in select_tables(tables, ["5", "2", "5a"])] == ["5a", "5b", "2"]
    with pytest.raises(UsageError, match="no table 9; there are 2, 3-retinanet"):
        select_tables(tables, ["9"])
