"""The subcommands `launch` and `collect` of tools/reproduce.py, run in this process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmscalablevit.reproduction.published import ROOT
from tests.reproduction.making import write_tables


@pytest.fixture
def reproduce(tmp_path, monkeypatch) -> Callable[..., None]:
    """The tool's main function, in a directory with tables and without Slurm."""
    spec = importlib.util.spec_from_file_location("reproduce", ROOT / "tools" / "reproduce.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    write_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    def main(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *words, "--tables", "tables.yml"])
        module.main()

    return main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--launcher", "slurm"], "--launcher slurm needs --partition"),
        (["--launcher", "slurm", "--partition", "p"], "there is no squeue here"),
        (["--partition", "p"], "--partition is for --launcher slurm or print"),
        (["--gpus", "0"], "takes a number from 1 on"),
        (["--rows", "Segmentr"], "no row Segmentr; there is Segmentor"),
    ],
)
def test_mistakes_of_launch_are_named(reproduce, words, message):
    with pytest.raises(SystemExit, match=message):
        reproduce("launch", "both", *words)


def test_too_few_gpus_are_told_before_anything_starts(reproduce, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SystemExit, match="takes 2 GPUs as published, and this machine has 1"):
        reproduce("launch", "both")
    assert not Path("work_dirs").exists()


def test_print_prints_the_script_alone(reproduce, capsys):
    reproduce("launch", "both", "--launcher", "print", "--gpus", "1", "--rows", "classifier")
    printed = capsys.readouterr()
    assert printed.out.startswith("#!/usr/bin/env bash\n") and printed.out.endswith("\n)\n")
    assert "seg.py" not in printed.out
    assert printed.err.startswith("cls: 1 GPU(s) x 4 images instead of 2 x 4")


def test_collect_writes_beside_the_runs_and_does_not_take_that_for_a_run(reproduce, capsys):
    for _ in range(2):
        reproduce("collect", "both", "dense")
    place = Path("work_dirs/tables")
    assert capsys.readouterr().out.splitlines()[-1] == f"written: {place}/table_both_dense.html"
    assert "Also found" not in (place / "table_both_dense.md").read_text()
    reproduce("collect", "--out", "elsewhere")
    assert {path.name for path in Path("elsewhere").iterdir()} == {
        "tables.md", "tables.csv", "tables.html"
    }  # fmt: skip
    Path("file").touch()
    with pytest.raises(SystemExit, match="cannot write to file"):
        reproduce("collect", "--out", "file")
