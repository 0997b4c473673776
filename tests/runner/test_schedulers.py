import numpy as np
import pytest
import torch

from mmscalablevit.runner.schedulers import WarmupCosineLR
from tests.golden import DATA


def test_equals_the_released_schedule():
    with np.load(DATA / "golden" / "lvt_token_labels" / "schedule.npz") as file:
        released = file["lr"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.6e-3)
    schedule = WarmupCosineLR(optimizer, warmup=20, T_max=300, eta_min=1e-5)
    rates = []
    for _ in released:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates, released, rtol=0, atol=1e-12)


def test_refuses_a_warmup_that_is_longer_than_the_wave():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="warmup 5"):
        WarmupCosineLR(optimizer, warmup=5, T_max=4)
