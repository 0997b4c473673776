"""Detectors and segmentors of other projects' own configs, with ScalableViT in place of ResNet."""

from __future__ import annotations

import pytest

from mmscalablevit.trials.hosts import HOSTS, Host, try_model
from tests.in_process import process_kept, run_tool


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "path"),
    [pytest.param(host, path, id=path) for host in HOSTS for path in host.configs],
)
def test_another_projects_model_is_not_refused_and_trains_and_predicts(
    host: Host, path: str
) -> None:
    pytest.importorskip(f"{host.package}.models", exc_type=ImportError)
    with process_kept():
        try_model(host, path)


def test_a_project_that_is_not_there_is_a_row_and_an_unknown_one_an_error() -> None:
    unknown = run_tool("try_heads.py", "mmyolo5")
    assert unknown.message == (
        "error: unknown project 'mmyolo5': known are mmdet, mmseg, mmpose, mmyolo, mmrotate"
    )
    absent = next((h for h in HOSTS if not _installed(h)), None)
    if absent is None:
        pytest.skip("all projects are installed")
    tried = run_tool("try_heads.py", absent.package)
    assert tried.code == 1
    assert (
        f"| {absent.title}" in tried.shown and f"No module named '{absent.package}'" in tried.shown
    )


def _installed(host: Host) -> bool:
    try:
        __import__(host.package)
    except ImportError:
        return False
    return True
