"""`collect` on work directories that something has happened to."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import report as reports
from mmscalablevit.reproduction.published import load_tables
from mmscalablevit.reproduction.report import to_csv, to_markdown
from mmscalablevit.reproduction.runs import State
from tests.fuzz import damage, examples
from tests.reproduction.making import (
    train_records,
    write_checkpoint,
    write_metrics,
    write_start,
    write_tables,
)

START = "runs/cls/20260101_000000"
SCALARS, FINAL = f"{START}/vis_data/scalars.json", "runs/cls/epoch_4.pth"
OBJECTS = [f"{START}/config.json", f"{START}/provenance.json"]  # files of one JSON object each
LAST, LOCK = "runs/cls/last_checkpoint", "runs/cls/.lock"
CLASSIFIER = [SCALARS, FINAL, LAST, LOCK, *OBJECTS, "runs/cls/epoch_2_iter_13.pth"]
METRICS = "runs/seg/tta/metrics.json"
FIGURES = {"top1": 79.5, "miou": 51.25, "miou_ms": 53.125}

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


class Files(dict[str, bytes]):
    """The content of each file as the runs have left it."""

    def __repr__(self) -> str:
        return f"{len(self)} files"

    def restore(self) -> None:
        """Put everything back."""
        shutil.rmtree("runs")
        for path, content in self.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)


@pytest.fixture(scope="module")
def whole() -> Iterator[Files]:
    """Tables and their runs, a classifier and a segmentor, both done, in the current directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)
        os.chmod(root, 0o755)
        write_tables(Path(root))
        records = [*train_records(1, 10, per_epoch=5), {"accuracy/top1": 50.0, "step": 2}]
        records += [*train_records(11, 20, per_epoch=5), {"accuracy/top1": 79.5, "step": 4}]
        write_start(Path("runs/cls"), Path("cls.py"), records)
        write_checkpoint(Path(FINAL))
        write_checkpoint(Path("runs/cls/epoch_2_iter_13.pth"))
        origin = {"commit": "0123", "versions": {"torch": "2"}, "processes": 8, "batch_size": 4}
        Path(OBJECTS[1]).write_text(json.dumps({**origin, "command": "train", "device": "H200"}))
        Path(LAST).write_text(FINAL)
        Path(LOCK).write_text(json.dumps({"host": "elsewhere", "pid": 7, "slurm_job": "9"}))
        records = [*train_records(1, 20), {"mIoU": 51.25, "step": 20}]
        write_start(Path("runs/seg"), Path("seg.py"), records)
        write_checkpoint(Path("runs/seg/iter_20.pth"))
        write_metrics(Path(METRICS), "runs/seg/iter_20.pth", mIoU=0.53125)
        paths = [path for path in sorted(Path().rglob("*")) if path.is_file()]
        yield Files({str(path): path.read_bytes() for path in paths})
        os.chdir(before)


def collect() -> reports.Report:
    tables = load_tables(Path("tables.yml"))
    return reports.collect(tables, [tables["both"]], Path("runs"), Path("runs/tables"))


def figures(report: reports.Report) -> dict[str, float]:
    """The figures by column."""
    return {column: value for (_, _, column), (value, _) in report.figures.items()}


def replace_value(draw: st.DrawFn, value: Any) -> Any:
    """Put something else in the place of a part of a JSON value."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    changed, key = value.copy(), draw(st.sampled_from(keys))
    changed[key] = replace_value(draw, value[key])
    return changed


def break_file(draw: st.DrawFn, path: Path) -> None:
    """Do something to a file."""
    kinds = ["damage", "damage", "bytes", "missing", "directory", "link", "many"]
    kinds += ["json"] * 3 * (path.suffix == ".json" or path.name == ".lock")
    kind, content = draw(st.sampled_from(kinds)), path.read_bytes()
    if kind in ("missing", "directory", "link"):
        path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(draw(st.sampled_from([path.name, "nowhere"])))
    elif kind == "damage":
        path.write_bytes(damage(draw, content))
    elif kind == "bytes":
        path.write_bytes(draw(st.binary(max_size=100)))
    elif kind == "json":  # one of a file's values, one a line, is another
        lines = content.decode().splitlines()
        number = draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(replace_value(draw, json.loads(lines[number])))
        path.write_text("\n".join(lines))
    elif kind == "many":
        path.write_bytes(draw(st.sampled_from([b"[", b"{", b"9", b"\0", b"-"])) * 200_000)


def is_object(text: str | bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def damaged_files() -> Iterator[str]:
    """The files that plainly are not what their names promise."""
    for name in (SCALARS, METRICS, *OBJECTS):
        path = Path(name)
        lines = [path.read_bytes()] if path.is_file() else []
        if name == SCALARS:
            lines = [line for text in lines for line in text.split(b"\n") if line.strip()]
        if path.is_dir() or not all(is_object(line.decode(errors="replace")) for line in lines):
            yield name
    if os.path.lexists(FINAL) and not (os.path.isfile(FINAL) and zipfile.is_zipfile(FINAL)):
        yield FINAL


@pytest.mark.slow
@examples(120)
@given(
    data=st.data(),
    names=st.sets(st.sampled_from([*CLASSIFIER, METRICS]), min_size=1, max_size=3),
)
def test_damage_is_named_and_touches_no_other_figure(
    data: st.DataObject, names: set[str], whole: Files
) -> None:
    whole.restore()
    for name in sorted(names):
        break_file(data.draw, Path(name))
    report = collect()
    found = figures(report)
    classifier, segmentor = report.runs.values()
    assert found["miou"] == 51.25 and segmentor.state is State.DONE
    assert METRICS in names or (found["miou_ms"] == 53.125 and not segmentor.problems)
    # A figure is one that the log has, as far as it goes.
    log = Path(SCALARS)
    text = log.read_text(errors="replace") if log.is_file() else ""
    logged = re.findall(r'"accuracy/top1":\s*([-+.\w]+)', text)
    assert "top1" not in found or found["top1"] in [float(value) for value in logged]
    assert classifier.state is not State.DONE or zipfile.is_zipfile(FINAL)
    if not names & {SCALARS, FINAL, LAST, LOCK}:
        assert found["top1"] == 79.5
    problems = "\n".join([*classifier.problems, *segmentor.problems])
    for path in damaged_files():
        assert path in problems
    to_csv(report).encode("utf-8", "replace")
    to_markdown(report).encode("utf-8", "replace")


@pytest.mark.slow
@examples(80)
@given(data=st.data(), name=st.sampled_from(["cls.py", "seg.py"]))
def test_a_damaged_config_is_read_or_named(data: st.DataObject, name: str, whole: Files) -> None:
    """Of the present config, which the runs are compared with."""
    whole.restore()
    text, path = whole[name].decode(), Path(name)
    if data.draw(st.booleans()):
        values = [match.span(1) for match in re.finditer(r'=("[^"]*"|[\d.]+|dict\(\))', text)]
        begin, end = data.draw(st.sampled_from(values))
        path.write_text(text[:begin] + repr(data.draw(JSON)) + text[end:])
    else:
        break_file(data.draw, path)
    try:
        report = collect()
    except UsageError as error:
        assert name in str(error)
    else:
        assert figures(report).keys() <= FIGURES.keys()
        to_markdown(report)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)


NAMES = st.one_of(
    st.sampled_from([b"epoch_9.pth", b"20260101_000001", b"tta", b"\xff\xfe", b"<b>", b"a\nb"]),
    st.binary(min_size=1, max_size=20).filter(
        lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
    ),
)


@pytest.mark.slow
@examples(80)
@given(
    where=st.sampled_from([b"runs", b"runs/cls", START.encode()]),
    name=NAMES,
    kind=st.sampled_from(["file", "directory", "loop", "nowhere"]),
)
def test_what_is_foreign_is_named(where: bytes, name: bytes, kind: str, whole: Files) -> None:
    whole.restore()
    path = os.path.join(where, name)
    if os.path.lexists(path):
        return
    if kind == "directory":
        os.mkdir(path)
    elif kind == "file":
        Path(os.fsdecode(path)).touch()
    else:
        os.symlink(name if kind == "loop" else b"nowhere", path)
    report = collect()
    assert figures(report) == FIGURES
    if where == b"runs" and not name.startswith(b"."):
        text = to_markdown(report)
        assert all(word.decode() in text for word in re.findall(rb"[a-z0-9]+", name))


def test_what_may_not_be_read_is_named(whole: Files) -> None:
    """A start, a work directory: another user's, perhaps."""
    whole.restore()
    collect()  # whatever is imported late is imported now
    user, locked = os.geteuid(), [Path(START), Path("runs/seg")]
    for path in locked:
        path.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)  # root may read everything
        told = "\n".join(line for run in collect().runs.values() for line in run.problems)
    finally:
        os.seteuid(user)
        for path in locked:
            path.chmod(0o755)
    assert f"{SCALARS} cannot be read: Permission denied" in told
    assert "runs/seg cannot be read: Permission denied" in told
