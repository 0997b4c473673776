"""Every row of ``docs/errors.md``: the mistake is made, and its message is what the user sees."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")
pytest.importorskip("mmpretrain")

from tests import tiny_projects
from tests.bad_input import checkpoints, configs, data, labels
from tests.bad_input.place import Place
from tests.leaves import ROOT

SLOW = data.CASES | labels.CASES  # a second or two each
CASES = configs.CASES | checkpoints.CASES | SLOW
DOCUMENT = ROOT / "docs/errors.md"

# The part of a message's plain words that must be found again; of its names all must be.
SHARE_OF_WORDS = 2 / 3


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

PARAMETERS = [
    pytest.param(title, marks=pytest.mark.slow if title in SLOW else ()) for title in CASES
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
def place(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh copy of the project."""
    home = tmp_path / "home"
    shutil.copytree(project, home)
    monkeypatch.chdir(home)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    return Place(home, monkeypatch)


def plain(text: str) -> str:
    """A text on one line, without the marks of code."""
    return " ".join(text.replace("`", "").split())


def split(message: str) -> tuple[list[str], list[str]]:
    """What a message of the document names, and its plain words.

    Names are what stands in quotes or has other signs than small letters: files, options, entries,
    classes, numbers; and how the case ends.
    """
    tokens = [token.strip(".,;:()") for token in re.split(r"[\s…]+", plain(message))]
    words = [token for token in tokens if re.fullmatch(r"[A-Z]?[a-z]+('s|-[a-z]+)*", token)]
    ends = {"error", "accepted", "warn"}
    return [token for token in tokens if token not in words or token in ends], words


def shares(message: str, names: list[str], words: list[str]) -> tuple[float, float]:
    """The parts of a row's names and of its words that a message has."""
    shown = plain(message)
    has = {token.strip(".,;:()") for token in shown.split()}
    of_names = sum(name in shown for name in names) / len(names)
    return of_names, sum(word in has for word in words) / len(words)


@pytest.mark.parametrize("title", PARAMETERS)
def test_the_user_sees_what_the_document_says(title: str, place: Place) -> None:
    """The message names the same things and remedies; a word may be another."""
    messages = CASES[title](place)
    assert not any("Traceback" in message for message in messages)
    names, words = split(ROWS[title])
    best = max(messages, key=lambda message: sum(shares(message, names, words)))
    of_names, of_words = shares(best, names, words)
    assert of_names == 1 and of_words >= SHARE_OF_WORDS, f"{names} {words}\nnot in\n{best}"
