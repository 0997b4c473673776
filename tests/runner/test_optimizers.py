"""The optimizer that configs for small budgets name."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from mmscalablevit.runner.optimizers import MuonAdamW, orthogonalize


def loss(model: nn.Module) -> Tensor:
    """Of enough samples for gradients of full rank: rounding decides about missing directions."""
    samples = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    return (model(samples) - samples[:, :4].roll(1, 1).sin()).square().mean()


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for _ in range(number):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (48, 48)])
def test_orthogonalized_matrices_keep_their_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonalize(matrix) @ v.T
    large = values > values[0] / 50
    assert ((turned.diag()[large] > 0.5) & (turned.diag()[large] < 1.3)).all()
    assert (turned - turned.diag().diag()).abs().max() < 0.05
    assert not orthogonalize(torch.zeros(shape)).any()


def test_vectors_step_as_adamw_lets_them_and_matrices_by_a_known_length(model: nn.Module) -> None:
    other, before = copy.deepcopy(model), copy.deepcopy(model)
    settings = {"lr": 0.01, "weight_decay": 0.0}
    steps(model, MuonAdamW(model.parameters(), **settings), 1)
    steps(other, torch.optim.AdamW(other.parameters(), **settings), 1)
    for name, weight in model.named_parameters():
        step = weight - before.get_parameter(name)
        if weight.ndim == 2:  # a full set of singular values near 1, times 0.2 sqrt(longer side)
            rms = step.square().mean().sqrt()
            assert 0.4 * 0.2 * 0.01 < rms < 1.3 * 0.2 * 0.01
        else:
            torch.testing.assert_close(weight, other.get_parameter(name), rtol=0, atol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch has Muon from 2.9 on")
def test_matrices_step_as_by_pytorchs_muon(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    steps(model, MuonAdamW(model.parameters(), lr=0.01, weight_decay=0.1), 5)
    matrices = [weight for weight in other.parameters() if weight.ndim == 2]
    rest = [weight for weight in other.parameters() if weight.ndim != 2]
    muon = torch.optim.Muon(matrices, 0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, 0.01, weight_decay=0.1)
    for _ in range(5):
        other.zero_grad()
        loss(other).backward()
        muon.step()
        adamw.step()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, other.get_parameter(name), rtol=0, atol=2e-3)


def test_it_goes_on_from_its_state(model: nn.Module) -> None:
    optimizer = MuonAdamW(model.parameters(), lr=0.01)
    steps(model, optimizer, 3)
    resumed = copy.deepcopy(model)
    again = MuonAdamW(resumed.parameters(), lr=0.01)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 2)
    steps(resumed, again, 2)
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_configs_build_it_with_groups(model: nn.Module) -> None:
    wrapper = build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "MuonAdamW", "lr": 0.01, "weight_decay": 0.05},
            "paramwise_cfg": {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0},
        },
    )
    first = loss(model).item()
    for _ in range(20):
        wrapper.update_params(loss(model))
    assert loss(model) < first
