"""What `make env` refuses before any work, and that a finished environment is left alone."""

import os
import subprocess
import sys
from pathlib import Path

from tests.leaves import ROOT

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def setup_env(venv: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = {"VENV": str(venv), "PYTHON": sys.executable, "STACK": "onedl", "OPS": "auto"}
    return subprocess.run(
        ["bash", ROOT / "tools" / "setup_env.sh"],
        env={**os.environ, **settings, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def stand_in_python(directory: Path, version: str) -> str:
    """Write a program that answers like an interpreter of that version."""
    program = directory / "python"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(program)


def test_wrong_settings_are_refused_before_any_work(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    for variables, message in (
        ({"STACK": "both"}, "STACK=both is unknown; it is upstream or onedl."),
        ({"OPS": "gpu"}, "OPS=gpu is unknown; it is auto, cpu or cuda."),
        ({"PYTHON": "/no/such/python"}, "the interpreter '/no/such/python' does not run"),
        ({"CXX": "no-such-compiler"}, "no working C++17 compiler ('no-such-compiler')"),
    ):
        done = setup_env(venv, **variables)
        assert done.returncode == 1
        assert message in done.stderr
        assert not venv.exists()


def test_python_outside_the_range_of_the_stack(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    for stack, version, accepted in (
        ("upstream", "3.9", False),
        ("upstream", "3.13", False),
        ("onedl", "3.9", False),
        ("onedl", "3.13", True),
        ("onedl", "3.14", False),
    ):
        python = stand_in_python(tmp_path, version)
        # an accepted version comes as far as the compiler, which is not there
        done = setup_env(venv, STACK=stack, PYTHON=python, CXX="no-such-compiler")
        assert done.returncode == 1
        refused = f"is Python {version}; the {stack} stack needs" in done.stderr
        assert refused is not accepted
        assert not venv.exists()


def test_a_directory_of_the_user_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = setup_env(tmp_path)
    assert done.returncode == 1
    assert "was not made by this script" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_finished_environment_serves_only_what_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "mmscalablevit.stamp").write_text(
        f"stack=upstream\npython={VERSION}\npath={tmp_path}\ncheckout={ROOT}\n"
    )
    done = setup_env(tmp_path)
    assert done.returncode == 1
    assert "made with  stack=upstream\n  asked for  stack=onedl" in done.stderr
    assert "VENV=.venv-onedl-py" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mmscalablevit.stamp"]
