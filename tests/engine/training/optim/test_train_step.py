"""Training step: split batches, accumulation, clipping, EMA, gradient checkpointing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.networks.gradient_checkpointing import checkpoint_blocks
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.optim.ema import Ema
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.transforms.device_transforms import PreparedBatch

CPU = Compute(torch.device("cpu"), "a CPU", "fp32")


def config(**changes: Any) -> RunConfig:
    return settings.build({"batch_size": 8, "compile": False} | changes)


def quiet(_level: str, text: str) -> None:
    pytest.fail(f"unexpected notice: {text}")


def batch(count: int = 8, classes: int = 3) -> PreparedBatch:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(count, 3, 32, 32, generator=generator)
    return PreparedBatch(pictures, torch.arange(count) % classes, None, 1.0)


def network_without_batch_statistics() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 3))


def gradients(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_batch_give_the_gradients_of_the_whole(parts: int) -> None:
    network = network_without_batch_statistics()
    stepper = TrainStep(network, config(), CPU, StepClock(CPU), quiet, nn.functional.cross_entropy)
    loss = stepper.backward(batch(), 0.5)
    whole = gradients(network)
    stepper.discard()
    stepper.parts = parts
    again = stepper.backward(batch(), 0.5)
    torch.testing.assert_close(again, loss)
    for first, second in zip(whole, gradients(network), strict=True):
        torch.testing.assert_close(first, second)


def test_accumulated_batches_give_the_gradients_of_one() -> None:
    network = network_without_batch_statistics()
    stepper = TrainStep(network, config(), CPU, StepClock(CPU), quiet, nn.functional.cross_entropy)
    stepper.backward(batch(), 1.0)
    whole = gradients(network)
    stepper.discard()
    for part in batch().split(2):
        stepper.backward(part, 1 / 4)
    for first, second in zip(whole, gradients(network), strict=True):
        torch.testing.assert_close(first, second)


def test_mixed_labels_weigh_as_their_pixels_do() -> None:
    network = network_without_batch_statistics()
    stepper = TrainStep(network, config(), CPU, StepClock(CPU), quiet, Classification(3, 0.1).loss)
    mixed = batch()
    mixed.partners, mixed.share = mixed.targets.roll(1), 0.7
    targets = 0.7 * nn.functional.one_hot(mixed.targets, 3) + 0.3 * nn.functional.one_hot(mixed.partners, 3)
    expected = nn.functional.cross_entropy(network(mixed.images), targets.float(), label_smoothing=0.1)
    torch.testing.assert_close(stepper.backward(mixed, 1.0), expected.detach())


def test_clipping_limits_the_norm_and_reports_the_norm_before_clipping() -> None:
    network = network_without_batch_statistics()
    stepper = TrainStep(
        network,
        config(clip_grad_norm=1e-3, optimizer="sgd", momentum=0.0, weight_decay=0.0),
        CPU,
        StepClock(CPU),
        quiet,
        nn.functional.cross_entropy,
    )
    before = [p.detach().clone() for p in network.parameters()]
    stepper.backward(batch(), 1.0)
    norm = torch.cat([g.flatten() for g in gradients(network)]).norm()
    stepper.update(1.0, 1)
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(network.parameters(), before, strict=True)]).norm()
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)
    assert stepper.grad_norm is not None
    torch.testing.assert_close(stepper.grad_norm, norm)


def test_ema_follows_the_formula() -> None:
    """Against the formula, with the rising decay of the first updates."""
    torch.manual_seed(0)
    network = SimpleCNN(3, 4)
    ema = Ema(network, 0.5)
    norm, mine = network.stem[1], ema.network.get_submodule("stem.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(mine, nn.BatchNorm2d)
    expected = network.head.weight.detach().clone()
    for number in range(1, 13):
        with torch.no_grad():
            network.head.weight += 1
            norm.get_buffer("num_batches_tracked").add_(1)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * network.head.weight.detach()
        ema.update(network, number)
    torch.testing.assert_close(ema.network.get_parameter("head.weight"), expected)
    assert int(mine.get_buffer("num_batches_tracked")) == 12
    assert not any(p.requires_grad for p in ema.network.parameters())


def kept_bytes(network: nn.Module, pictures: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, parameters left out; the backward pass is done."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(pictures).square().sum()
    loss.backward()
    return sum(size for place, size in kept.items() if place not in own)


@pytest.mark.parametrize("name", ["simple_cnn", "resnet18", "mobilenet_v2", "regnet_y_400mf"])
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name: str) -> None:
    """Gradients and running statistics bit for bit, dropout included."""
    torch.manual_seed(0)
    plain = SimpleCNN(3, 8) if name == "simple_cnn" else models.get_model(name, num_classes=3)
    frugal = copy.deepcopy(plain)
    assert checkpoint_blocks(frugal) >= 4
    pictures = torch.randn(2, 3, 64, 64)
    sizes = []
    for network in (plain.train(), frugal.train()):
        torch.manual_seed(1)
        sizes.append(kept_bytes(network, pictures))
    assert sizes[1] < 0.65 * sizes[0]
    assert all(torch.equal(a, b) for a, b in zip(gradients(plain), gradients(frugal), strict=True))
    state, other = plain.state_dict(), frugal.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[key], other[key]) for key in state)


def test_gradient_checkpointing_warns_for_a_model_without_blocks() -> None:
    told: list[str] = []
    network = models.get_model("alexnet", num_classes=3)
    TrainStep(
        network,
        config(model="alexnet", gradient_checkpointing=True),
        CPU,
        StepClock(CPU),
        lambda _, text: told.append(text),
        nn.functional.cross_entropy,
    )
    assert told == ["gradient_checkpointing: alexnet has no blocks to recompute: off"]


def test_the_ema_of_a_checkpointed_network_is_independent() -> None:
    stepper = TrainStep(
        SimpleCNN(3, 4),
        config(ema_decay=0.9, gradient_checkpointing=True),
        CPU,
        StepClock(CPU),
        quiet,
        nn.functional.cross_entropy,
    )
    with torch.no_grad():
        for parameter in stepper.network.parameters():
            parameter.zero_()
        assert float(stepper.evaluated(batch().images).std()) > 0
