"""`collect` on work directories that something has happened to."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import collecting
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
CLASSIFIER = {
    name: f"{START}/{file}"
    for name, file in {
        "scalars": "vis_data/scalars.json",
        "config": "config.json",
        "provenance": "provenance.json",
        "final": "../epoch_4.pth",
        "within": "../epoch_2_iter_13.pth",
        "last": "../last_checkpoint",
        "lock": "../.lock",
    }.items()
}
CLASSIFIER = {name: os.path.normpath(path) for name, path in CLASSIFIER.items()}
METRICS = "runs/seg/tta/metrics.json"
OBJECTS = [CLASSIFIER[name] for name in ("config", "provenance")]
JSON_FILES = {*OBJECTS, CLASSIFIER["lock"], METRICS}

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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with tables and their runs: a classifier and a segmentor, both done."""
    before, root = Path.cwd(), tmp_path_factory.mktemp("collect")
    os.chdir(root)
    write_tables(root)
    records = [*train_records(1, 10, per_epoch=5), {"accuracy/top1": 50.0, "step": 2}]
    records += [*train_records(11, 20, per_epoch=5), {"accuracy/top1": 79.5, "step": 4}]
    start = write_start(Path("runs/cls"), Path("cls.py"), records)
    write_checkpoint(Path(CLASSIFIER["final"]))
    write_checkpoint(Path(CLASSIFIER["within"]))
    provenance = {"commit": "0123", "versions": {"torch": "2"}, "processes": 8, "batch_size": 4}
    texts = {
        "provenance": json.dumps({**provenance, "command": "train", "device": "H200"}),
        "last": str(start.parent / "epoch_4.pth"),
        "lock": json.dumps({"host": "elsewhere", "pid": 7, "slurm_job": "9"}),
    }
    for name, text in texts.items():
        Path(CLASSIFIER[name]).write_text(text)
    records = [*train_records(1, 20), {"mIoU": 51.25, "step": 20}]
    write_start(Path("runs/seg"), Path("seg.py"), records)
    write_checkpoint(Path("runs/seg/iter_20.pth"))
    write_metrics(Path(METRICS), "runs/seg/iter_20.pth", mIoU=0.53125)
    yield root
    os.chdir(before)


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
def whole(place: Path) -> Files:
    paths = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return Files({str(path.relative_to(place)): path.read_bytes() for path in paths})


def collect() -> collecting.Report:
    tables = load_tables(Path("tables.yml"))
    return collecting.collect(tables, [tables["both"]], Path("runs"), Path("runs/tables"))


def figures(report: collecting.Report) -> dict[str, float]:
    """The figures by column."""
    (table,) = report.tables
    cells = [(name, report.figure(row, name)) for row in table.rows for name in table.columns]
    return {name: found[0] for name, found in cells if found}


def replace_value(draw: st.DrawFn, value: Any) -> Any:
    """Put something else in the place of a part of a JSON value."""
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    changed, key = value.copy(), draw(st.sampled_from(keys))
    changed[key] = replace_value(draw, value[key])
    return changed


def replace_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Give one of a file's JSON values, one a line, another type."""
    lines = content.decode().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    lines[number] = json.dumps(replace_value(draw, json.loads(lines[number])))
    return "\n".join(lines).encode()


def break_file(draw: st.DrawFn, path: Path) -> None:
    """Do something to a file."""
    kinds = ["damage", "damage", "empty", "bytes", "missing", "directory", "link", "many"]
    if str(path) in JSON_FILES or path.name == "scalars.json":
        kinds += ["json"] * 3
    kind, content = draw(st.sampled_from(kinds)), path.read_bytes()
    if kind in ("missing", "directory", "link"):
        path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(draw(st.sampled_from([path.name, "nowhere"])))
    elif kind != "missing":
        new: dict[str, Callable[[], bytes]] = {
            "damage": lambda: damage(draw, content),
            "empty": lambda: b"",
            "bytes": lambda: draw(st.binary(max_size=100)),
            "json": lambda: replace_json(draw, content),
            "many": lambda: draw(st.sampled_from([b"[", b"{", b"9", b"\0", b"-"])) * 200_000,
        }
        path.write_bytes(new[kind]())


def is_object(text: str | bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def damaged_files() -> Iterator[str]:
    """The classifier's files that plainly are not what their names promise."""
    scalars = Path(CLASSIFIER["scalars"])
    if scalars.is_dir() or (
        scalars.is_file()
        and not all(is_object(line) for line in scalars.read_bytes().split(b"\n") if line.strip())
    ):
        yield str(scalars)
    for path in map(Path, OBJECTS):
        if path.is_dir() or (path.is_file() and not is_object(path.read_text(errors="replace"))):
            yield str(path)
    final = Path(CLASSIFIER["final"])
    if os.path.lexists(final) and not (final.is_file() and zipfile.is_zipfile(final)):
        yield str(final)


@pytest.mark.slow
@examples(1000)
@given(data=st.data(), names=st.sets(st.sampled_from(sorted(CLASSIFIER)), min_size=1, max_size=3))
def test_damage_to_one_run_is_named_and_touches_no_other(
    data: st.DataObject, names: set[str], place: Path, whole: Files
) -> None:
    whole.restore()
    for name in sorted(names):
        break_file(data.draw, Path(CLASSIFIER[name]))
    report = collect()
    found = figures(report)
    assert (found["miou"], found["miou_ms"]) == (51.25, 53.125)
    classifier, segmentor = report.runs.values()
    assert segmentor.state is State.DONE and not segmentor.problems
    # A figure is one that the log has, as far as it goes.
    log = Path(CLASSIFIER["scalars"])
    text = log.read_text(errors="replace") if log.is_file() else ""
    logged = re.findall(r'"accuracy/top1":\s*([-+.\w]+)', text)
    assert "top1" not in found or found["top1"] in [float(value) for value in logged]
    if classifier.state is State.DONE:
        assert zipfile.is_zipfile(CLASSIFIER["final"])
    if not names & {"scalars", "final", "last", "lock"}:
        assert found["top1"] == 79.5
    problems = "\n".join(classifier.problems)
    for path in damaged_files():
        assert path in problems
    to_csv(report).encode("utf-8", "replace")
    to_markdown(report).encode("utf-8", "replace")


@pytest.mark.slow
@examples(300)
@given(data=st.data())
def test_a_damaged_test_result_is_named(data: st.DataObject, place: Path, whole: Files) -> None:
    whole.restore()
    break_file(data.draw, Path(METRICS))
    report = collect()
    found = figures(report)
    assert (found["top1"], found["miou"]) == (79.5, 51.25)
    segmentor = report.runs[Path("seg.py").resolve()]
    path = Path(METRICS)
    if path.is_dir() or (path.is_file() and not is_object(path.read_text(errors="replace"))):
        assert METRICS in "\n".join(segmentor.problems) and "miou_ms" not in found
    to_markdown(report)


@pytest.mark.slow
@examples(300)
@given(data=st.data())
def test_a_damaged_config_is_read_or_named(data: st.DataObject, place: Path, whole: Files) -> None:
    """Of the present config, which the runs are compared with."""
    whole.restore()
    name = data.draw(st.sampled_from(["cls.py", "seg.py"]))
    text = whole[name].decode()
    if data.draw(st.booleans()):
        values = [match.span(1) for match in re.finditer(r'=("[^"]*"|[\d.]+|dict\(\))', text)]
        begin, end = data.draw(st.sampled_from(values))
        Path(name).write_text(text[:begin] + repr(data.draw(JSON)) + text[end:])
    else:
        break_file(data.draw, Path(name))
    try:
        report = collect()
    except UsageError as error:
        assert name in str(error)
    else:
        assert figures(report).keys() <= {"top1", "miou", "miou_ms"}
        to_markdown(report)
    finally:
        path = Path(name)
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
@examples(300)
@given(
    where=st.sampled_from([b"runs", b"runs/cls", START.encode()]),
    names=st.sets(NAMES, min_size=1, max_size=3),
    kind=st.sampled_from(["file", "directory", "loop", "nowhere"]),
)
def test_what_is_foreign_is_named(
    where: bytes, names: set[bytes], kind: str, place: Path, whole: Files
) -> None:
    whole.restore()
    new = [name for name in sorted(names) if not os.path.lexists(os.path.join(where, name))]
    for name in new:
        path = os.path.join(where, name)
        if kind == "file":
            Path(os.fsdecode(path)).touch()
        elif kind == "directory":
            os.mkdir(path)
        else:
            os.symlink(name if kind == "loop" else b"nowhere", path)
    report = collect()
    assert figures(report) == {"top1": 79.5, "miou": 51.25, "miou_ms": 53.125}
    text = to_markdown(report)
    if where == b"runs":
        for name in new:
            words = re.findall(rb"[a-z0-9]+", name)
            if not name.startswith(b"."):
                assert all(word.decode() in text for word in words)


def test_what_may_not_be_read_is_named(place: Path, whole: Files) -> None:
    """A start, a work directory: another user's, perhaps."""
    whole.restore()
    collect()  # whatever is imported late is imported now
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(place, folder, dirs_exist_ok=True)
        os.chmod(folder, 0o755)
        locked = [Path(folder) / START, Path(folder) / "runs/seg"]
        for path in locked:
            path.chmod(0)
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            problems = ["it did not come to its end"]
            try:
                os.chdir(folder)
                if os.geteuid() == 0:
                    os.setuid(65534)  # root may read everything
                problems = [line for run in collect().runs.values() for line in run.problems]
            finally:
                os.write(writing, "\n".join(problems).encode())
                os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        for path in locked:
            path.chmod(0o755)
    assert f"{START}/vis_data/scalars.json cannot be read: Permission denied" in told
    assert "runs/seg cannot be read: Permission denied" in told
