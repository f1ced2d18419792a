"""Optimizers: each lowers a loss, and LAMB follows the paper."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gputrain.engine.configuration import settings
from gputrain.engine.training.optim.lamb import Lamb
from gputrain.engine.training.optim.optimizers import make_optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))


def loss_of(model: nn.Module) -> torch.Tensor:
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    loss: torch.Tensor = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
    return loss


@pytest.mark.parametrize(
    ("name", "lr"), [("sgd", 0.02), ("adam", 0.02), ("adamw", 0.02), ("rmsprop", 0.002), ("lamb", 0.02)]
)
def test_every_optimizer_learns(name: str, lr: float) -> None:
    model = network()
    optimizer = make_optimizer(model, settings.build({"optimizer": name, "lr": lr, "weight_decay": 1e-4}))
    first = loss_of(model).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert loss_of(model).item() < 0.5 * first


def test_lamb_follows_the_paper() -> None:
    model = network()
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in expected.items()}
    second = copy.deepcopy(first)
    lr, decay, eps = 0.05, 0.1, 1e-6
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = Lamb([{"params": decayed, "weight_decay": decay}, {"params": others}], lr=lr, betas=(0.9, 0.999))
    for step in range(1, 6):
        optimizer.zero_grad()
        loss_of(model).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            gradient = p.grad.double()
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            update = first[name] / (1 - 0.9**step) / ((second[name] / (1 - 0.999**step)).sqrt() + eps)
            trust = 1.0
            if p.ndim > 1:
                update = update + decay * expected[name]
                trust = float(expected[name].norm() / update.norm())
            expected[name] = expected[name] - lr * trust * update
        optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach().double(), expected[name], rtol=1e-4, atol=1e-5)


def test_lamb_handles_zero_weights() -> None:
    weight = nn.Parameter(torch.zeros(3, 3))
    optimizer = Lamb([{"params": [weight], "weight_decay": 0.1}], lr=0.1, betas=(0.9, 0.999))
    weight.grad = torch.ones(3, 3)
    optimizer.step()
    assert torch.isfinite(weight).all()
    assert (weight < 0).all()
