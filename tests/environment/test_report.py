"""Importing the package, and the report, in interpreters that see made-up installations."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmscalablevit.__main__ import render
from mmscalablevit.environment import Probe, usable
from mmscalablevit.environment.facts import PROBES, run_probe, verified_pins
from mmscalablevit.errors import Finding

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """Run an interpreter that sees the standard library, this project and made-up metadata."""

    def run_python(versions: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        for name, version in versions.items():
            directory = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            directory.mkdir()
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (directory / "METADATA").write_text(metadata)
        return subprocess.run(
            [sys.executable, "-S", *arguments],  # -S: without site-packages
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_python


def test_import_with_an_unusable_version_gives_one_clear_error(run):
    old = {"torch": "2.3.1", "mmengine": "0.10.4", "mmcv": "1.7.1"}
    for versions, message in (
        ({}, "torch is not installed; mmengine is not installed; mmcv is not installed."),
        (
            old,
            "torch is 2.3.1: 2.4 or newer is needed; mmengine is 0.10.4: 0.10.7 or newer is"
            " needed; mmcv is 1.7.1: 2.0 or newer is needed.",
        ),
    ):
        done = run(versions, "-c", "import mmscalablevit")
        assert done.returncode == 1
        error = done.stderr.strip().splitlines()[-1]
        assert error.startswith("ImportError: mmscalablevit cannot be used here: ")
        assert message in error
        assert error.endswith("`python -m mmscalablevit` lists the commands that mend it.")


def test_the_report_works_where_nothing_is_installed(run):
    done = run({}, "-m", "mmscalablevit")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "torch       fail  not installed" in done.stdout
    assert "Problem with torch. To mend it:\n    pip install torch" in done.stdout


def test_only_the_report_may_go_on_without_torch(run, tmp_path):
    (tmp_path / "other.py").write_text("import mmscalablevit")
    assert "ImportError: mmscalablevit cannot" in run({}, "-m", "other").stderr
    assert "ImportError: mmscalablevit cannot" in run({}, "other.py", "-m", "mmscalablevit").stderr


def test_usable_versions_pass_and_mixed_stacks_are_a_warning(monkeypatch):
    versions = {"torch": "2.4.0", "onedl-mmengine": "0.10.7", "mmcv-lite": "2.0.0"}
    monkeypatch.setattr(usable, "installed_versions", lambda: versions)
    with pytest.warns(UserWarning, match="write to the same directories"):
        assert usable.require_usable() is True
    versions["mmengine"] = versions.pop("onedl-mmengine")
    assert usable.require_usable() is True


def test_probes_tell_errors_from_crashes(monkeypatch):
    monkeypatch.setitem(PROBES, "good", "print('noise')\nvalues = dict(cuda='13.0')")
    monkeypatch.setitem(PROBES, "bad", "import no_such_module")
    monkeypatch.setitem(PROBES, "crash", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert run_probe("good") == Probe({"cuda": "13.0"})
    assert run_probe("bad").error == "ModuleNotFoundError: No module named 'no_such_module'"
    assert run_probe("crash").error == "crashed with signal 11"


def test_findings_with_one_remedy_are_listed_once():
    findings = [
        Finding("torch", "ok", "2.13.0"),
        Finding("mmcv", "fail", "2.2.0: refused", "pip install mmcv==2.1.0"),
        Finding("mmdet", "fail", "3.3.0 refuses mmcv", "pip install mmcv==2.1.0"),
        Finding("mmseg", "warn", "not installed", "pip install mmsegmentation==1.2.2"),
    ]
    text = render(findings)
    assert text.count("    pip install mmcv==2.1.0\n") == 1
    assert "Problem with mmcv, mmdet. To mend it:" in text
    assert "Note with mmseg. To mend it:\n    pip install mmsegmentation==1.2.2" in text
    assert "No problems found." in render(findings[:1])


@pytest.mark.slow
def test_this_environment_has_no_problem_that_must_be_mended():
    command = [sys.executable, "-m", "mmscalablevit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " fail " not in done.stdout


def test_the_pins_are_those_of_the_requirements():
    pins = verified_pins()
    if not pins:
        pytest.skip("the package is not installed, only on the path")
    for name in ("upstream", "onedl"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        stated = [line.split("#")[0].strip() for line in text.splitlines()]
        stated = [line for line in stated if line]
        assert stated == [pins[line.split("==")[0]] for line in stated]
