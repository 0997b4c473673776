from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmscalablevit.preflight import examination as preflight
from tests import tiny_projects
from tests.in_process import TOOLS, run_tool
from tests.integration.test_user_project import PROJECTS, write_project


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the tool in this process, in a directory of its own, without the environment's probes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight, "report", lambda: [])
    return lambda *arguments: run_tool("preflight.py", *arguments)[:2]


def test_the_exit_code_says_whether_something_is_to_be_mended(run, tmp_path: Path) -> None:
    tiny_projects.write(tmp_path)
    code, table = run("classification.py", "--images", 2)
    assert code == 0 and "Ready to train." in table and "2 of 4 read" in table
    code, table = run("classification.py", "--gpus", 8)
    assert code == 0 and "0 to mend, 1 to look at" in table
    shutil.rmtree(tmp_path / "data/pets/train")
    code, table = run("classification.py")
    assert code == 1 and "1 to mend" in table
    assert "--cfg-options train_dataloader.dataset.data_root=DIR" in " ".join(table.split())


def test_every_failed_row_says_what_to_do(run, tmp_path: Path) -> None:
    """Many things at once are wrong: each is told, and has its remedy below it."""
    tiny_projects.write(tmp_path)
    (tmp_path / "empty.pth").write_bytes(b"")
    path = tmp_path / "data/digits/detection/annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["categories"][3]["name"] = "three"
    content["annotations"][0]["category_id"] = 99
    path.write_text(json.dumps(content))
    next((tmp_path / "data/digits/detection/train2017").iterdir()).unlink()
    code, table = run("detection.py", "empty.pth", "--work-dir", path / "below")
    rows = table.splitlines()
    failed = [number for number, row in enumerate(rows) if " FAIL " in row]
    assert code == 1
    named = {rows[number][:18].strip() for number in failed}
    assert named >= {"train categories", "train boxes", "train images", "checkpoint", "disk"}
    for number in failed:
        below = [row for row in rows[number + 1 :] if row[:1] != " " or row.strip()[:2] == "->"]
        assert below[0].strip().startswith("->"), rows[number]


@pytest.mark.slow
@pytest.mark.parametrize("base", PROJECTS, ids=lambda base: Path(base).stem)
def test_a_users_own_config(base: str, run, tmp_path: Path) -> None:
    pytest.importorskip(base.partition("::")[0])
    write_project(tmp_path, base)
    code, table = run("own.py")
    assert code == 0, table


@pytest.mark.slow
@pytest.mark.exhaustive  # the environment's tests look at its probes
def test_as_a_program_with_the_environment(tmp_path: Path) -> None:
    tiny_projects.write(tmp_path)
    done = subprocess.run(
        [sys.executable, TOOLS / "preflight.py", "classification.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("environment"), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == int(" FAIL " in done.stdout)
    assert not (tmp_path / "work_dirs").exists()
