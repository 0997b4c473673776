"""Settings for all tests."""

import os
import random

import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures without a display


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Give every test the same random numbers, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
