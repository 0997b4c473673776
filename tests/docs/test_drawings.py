"""Pictures of the documentation are of what its pages say."""

from __future__ import annotations

import runpy

from PIL import Image

from tests.leaves import ROOT


def test_the_picture_of_speeds_was_drawn_from_the_table_as_it_stands() -> None:
    drawing = runpy.run_path(str(ROOT / "docs/drawings/speed.py"))
    rows = drawing["read_rows"]()
    assert len(rows) >= 8
    with Image.open(drawing["PICTURE"]) as picture:
        assert picture.info["Description"] == str(rows), "run `python docs/drawings/speed.py`"


def test_every_figure_of_the_short_table_stands_in_the_results() -> None:
    rows = runpy.run_path(str(ROOT / "docs/drawings/speed.py"))["read_rows"]()
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    results = text.partition("<!-- end -->")[2].replace(",", "")
    figures = [figure for row in rows for figure in row[3:5] if figure]
    assert [figure for figure in figures if figure not in results] == []
