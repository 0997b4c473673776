"""The loader of published figures, on files of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmscalablevit import files
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.published import Column, Metric, Table, load_tables, select_tables

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


def test_what_is_left_out_has_its_default(file: Path) -> None:
    (table,) = load_tables(file).values()
    other, lost, ours = table.rows
    assert (table.key, table.flops, table.columns["ap"]) == ("1", "layers", Column("AP", ""))
    assert str(other.published) == "{'params': 29, 'ap': 81.3}"  # as it is written
    assert (lost.peer, lost.missing, lost.published) == (None, "nobody has it", {})
    first, second = ours.runs
    assert (first.config, first.tests) == (file.parents[1] / "configs/a.py", ())
    assert second.needs == first.config
    assert second.tests[0].metrics == {"ap": Metric("AP", 1)}


def test_paths_of_a_users_file_begin_at_its_folder(file: Path) -> None:
    own = file.parents[1] / "own.yml"
    file.rename(own)
    assert load_tables(own)["1"].rows[2].runs[0].config == own.parent / "configs/a.py"


MISTAKES = [  # what to replace, by what, and the complaint
    ("    title: A title\n", "", "1: title is missing"),
    ("'1':", "1:", "the key 1 must be a string"),
    ("tables:", "table:", "unknown table; known are tables"),
    ("[800, 1280]", "[800]", "1, input_size: must be a list of 2"),
    ("[800, 1280]", "[800, 0]", "1, input_size: must be height and width in pixels"),
    ("    columns:\n", "    flops: all\n    columns:\n", "flops: must be layers or everything"),
    ("{params: 29,", "{size: 29,", "Other: there is no column size; there are params, ap"),
    ("params: 29,", "params: '29',", "Other, published, params: must be a number, not '29'"),
    ("peer: other", "peers: other", "Other: unknown peers; known are name, published, group"),
    (" peer: other,", "", "1, Other: must have one of runs, peer and missing"),
    ("name: Lost", "name: Other", "1, Other: the table has another row of this name"),
    ("name: Ours", "title: Ours", "rows, 3: unknown title"),
    ("{params: not printed}", "{note: x}", "Ours: there is no column note"),
    ("config: configs/b.py", "config: configs/c.py", "runs, 2, config: .*c.py does not exist"),
    ("scale: 100", "scala: 100", "metrics, ap: unknown scala; known are key, scale"),
    ("{key: AP}", "AP", "tests, tta, metrics, ap: must be a mapping, not 'AP'"),
    ("[--eval, bbox, --tta]", "--tta", "arguments: must be a list, not '--tta'"),
    ("rows:", "rows: [", "cannot be read"),
]


def test_complaints_name_the_place(file: Path) -> None:
    for old, new, message in MISTAKES:
        assert old in TABLES
        file.write_text(TABLES.replace(old, new))
        with pytest.raises(UsageError, match=message):
            load_tables(file)


def test_tables_are_chosen_by_key_or_by_number() -> None:
    keys = ("2", "3-retinanet", "3-mask-rcnn", "31", "5a", "5b")
    tables = {key: Table("", "", (1, 1), {}, (), key=key) for key in keys}

    def chosen(*names: str) -> list[str]:
        return [table.key for table in select_tables(tables, names)]

    assert chosen("2") == ["2"]
    assert chosen("3") == ["3-retinanet", "3-mask-rcnn"]
    assert chosen("5b") == ["5b"] and chosen("31") == ["31"]
    assert chosen("5", "2", "5a") == ["5a", "5b", "2"]
    assert chosen() == list(keys)
    with pytest.raises(UsageError, match="no table 9; there are 2, 3-retinanet"):
        chosen("9")


def test_without_configs_there_is_a_message(tmp_path: Path, monkeypatch) -> None:
    """As in an installed package without them."""
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "mmscalablevit")
    (tmp_path / "configs").mkdir()  # somebody else's
    with pytest.raises(UsageError, match="this needs a checkout"):
        load_tables()
    inside = tmp_path / "mmscalablevit/.mim/configs"
    inside.mkdir(parents=True)
    (inside / "published.yml").write_text("tables: {}")
    assert load_tables() == {}
