"""Settings for all tests."""

import os

# Where pytest runs several processes, they share the cores. Before torch, which reads it once.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    threads = max(1, (os.cpu_count() or 1) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
os.environ.setdefault("MPLBACKEND", "Agg")  # pictures without a display

import functools
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from mmengine.config import utils as config_utils
from yapf.yapflib import yapf_api

from tests.in_process import loading_kept, managers_kept


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Give every test the same random numbers, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """Undo what a test does to how checkpoints are read, and to what MMEngine keeps by name."""
    with managers_kept(), loading_kept():
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_configs() -> Iterator[None]:
    """Read the frameworks' metafiles once, and write configs without a layout.

    For each base that a config takes from a framework, MMEngine reads all of its metafiles, a
    hundred: ten times as long as all else that reading a config takes. And each Runner lets yapf
    lay out the config's text, for a second.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_utils, "load", functools.cache(config_utils.load))
        patch.setattr(yapf_api, "FormatCode", lambda text, **_: (text, True))
        yield


@pytest.fixture
def compiler() -> Iterator[None]:
    """A compiler without a memory of other tests, which would let it give up and run uncompiled."""
    import torch._dynamo  # here, since it takes seconds
    from torch._inductor import config

    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True), config.patch(freezing=False):
        yield
