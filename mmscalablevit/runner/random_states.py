"""The states of a process's random number generators, so that a run can go on exactly."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def current_states() -> dict[str, Any]:
    """Return the states of this process's generators: Python's, NumPy's and torch's."""
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_states(states: dict[str, Any]) -> None:
    """Set this process's generators to what :func:`current_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    # A checkpoint is loaded to the GPU, but states are set from the CPU.
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
