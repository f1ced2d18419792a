"""The table of activation memory against a new count by autograd."""

from __future__ import annotations

import pytest
import torch
import torchvision

from gputrain.engine.estimates import host_memory
from gputrain.engine.model_catalog.activation_memory import COUNTED_AT, cost_of
from gputrain.engine.training.cache import cache_capacity
from gputrain.engine.training.loader import make_loader
from gputrain.engine.training.networks.simple_cnn import SimpleCNN


def saved_bytes(model: torch.nn.Module, images: int, half: bool) -> int:
    """Bytes of activations that autograd keeps for the backward pass of a batch."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    batch = torch.zeros(images, 3, COUNTED_AT, COUNTED_AT).to(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            scores = model(batch)
        torch.nn.functional.cross_entropy(scores.float(), torch.zeros(images, dtype=torch.long))
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(size for place, size in storages.items() if place not in own)


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
@pytest.mark.parametrize("half", [False, True])
def test_the_table_equals_the_bytes_that_autograd_saves(name: str, half: bool) -> None:
    cost = cost_of(name)
    assert cost is not None
    model = torchvision.models.get_model(name).train().to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in model.parameters()) == cost.parameters
    per_image = (saved_bytes(model, 3, half) - saved_bytes(model, 1, half)) / 2
    assert per_image == pytest.approx(cost.activations(1, COUNTED_AT, half), rel=0.01)


@pytest.mark.parametrize(("width", "half"), [(32, False), (32, True), (48, False)])
def test_the_formula_for_simple_cnn_holds(width: int, half: bool) -> None:
    cost = cost_of("simple_cnn", width)
    assert cost is not None
    model = SimpleCNN(1000, width).train().to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in model.parameters()) == cost.parameters
    per_image = (saved_bytes(model, 3, half) - saved_bytes(model, 1, half)) / 2
    assert per_image == pytest.approx(cost.activations(1, COUNTED_AT, half), rel=0.01)


def test_the_plan_counts_as_the_loader_and_the_cache_do() -> None:
    assert host_memory.MAX_THREADS == make_loader.MAX_THREADS
    assert (host_memory.CACHE_SHARE, host_memory.SHM_SHARE) == (
        cache_capacity._MEMORY_SHARE,
        cache_capacity._DISK_SHARE,
    )
