"""What tools/reproduce.py says on the way; tests/reproduction tests what it does."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_collect_says_that_there_are_no_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work_dirs").mkdir()
    main = runpy.run_path(str(ROOT / "tools/reproduce.py"))["main"]
    main(["collect", "7", "--work-dirs", "work_dir", "--out", "report"])
    assert capsys.readouterr().err == "there is no folder work_dir: every run is missing\n"
    assert "missing" in (tmp_path / "report/table_7.md").read_text()
    assert not (tmp_path / "work_dir").exists()
    main(["collect", "7"])
    assert capsys.readouterr().err == ""
