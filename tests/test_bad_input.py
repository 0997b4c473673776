"""Every row of ``docs/errors.md``: the mistake is made, and its message is what the user sees."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.runner import CheckpointLoader

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")
pytest.importorskip("mmpretrain")

from tests import tiny_projects
from tests.bad_input import checkpoints, configs, data, labels
from tests.bad_input.place import CASES, Place

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/errors.md"
MODULES = (checkpoints, configs, data, labels)  # importing them has filled CASES


def read_rows() -> dict[str, str]:
    """The messages in the tables of the document, by the cases in their first column."""
    rows = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and set(cells[0]) - set("-: "):
            rows[cells[0]] = cells[1]
    rows.pop("What is wrong")
    return rows


ROWS = read_rows()

# A case about data takes a second or two each, and there are many.
SLOW = (data.__name__, labels.__name__)
PARAMETERS = [
    pytest.param(title, marks=pytest.mark.slow if case.__module__ in SLOW else ())
    for title, case in CASES.items()
]


def test_the_document_and_the_cases_are_the_same() -> None:
    assert len(ROWS) >= 30
    assert sorted(ROWS) == sorted(CASES)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("project")
    tiny_projects.write(home)
    yield home
    shutil.rmtree(home)


@pytest.fixture
def place(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A fresh copy of the project, and what the tools change in the process put back."""
    home = tmp_path / "home"
    shutil.copytree(project, home)
    monkeypatch.chdir(home)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    for name, handler in file_handlers.items():
        monkeypatch.setitem(file_handlers, name, handler)
    on_termination = signal.getsignal(signal.SIGTERM)
    yield Place(home, monkeypatch)
    signal.signal(signal.SIGTERM, on_termination)


def plain(text: str) -> str:
    """A text on one line, without the marks of code."""
    return " ".join(text.replace("`", "").split())


def pattern(message: str) -> str:
    """A regular expression for a message of the document, in which ``…`` stands for anything."""
    return ".*".join(re.escape(part.strip()) for part in plain(message).split("…"))


@pytest.mark.parametrize("title", PARAMETERS)
def test_the_user_sees_what_the_document_says(title: str, place: Place) -> None:
    seen = plain(CASES[title](place))
    assert "Traceback" not in seen
    assert re.search(pattern(ROWS[title]), seen), seen
