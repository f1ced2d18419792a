"""The table of blocks against a new count in torchvision's models."""

from __future__ import annotations

import pytest
from torch.nn.modules.batchnorm import _BatchNorm

from gputrain.engine.configuration import settings
from gputrain.engine.model_catalog.activation_memory import _COSTS, cost_of
from gputrain.engine.model_catalog.divided_blocks import _BLOCKS, DividedBlocks, blocks_of
from gputrain.engine.training.distributed.fsdp_network import _separate
from gputrain.engine.training.models.create_model import on_meta
from gputrain.engine.training.networks import blocks

QUICK = ("resnet50", "vit_b_16", "convnext_tiny", "alexnet")


def counted(name: str, width: int = 32) -> DividedBlocks:
    network = on_meta(settings.build({"model": name, "width": width}), 1000)
    sizes = [sum(p.numel() for p in block.parameters()) for block in _separate(network, blocks.blocks_of(network))]
    total = sum(p.numel() for p in network.parameters())
    norms = any(isinstance(module, _BatchNorm) for module in network.modules())
    return DividedBlocks(total - sum(sizes), max(sizes, default=0), norms)


@pytest.mark.parametrize("width", [16, 32, 48])
def test_the_formula_for_simple_cnn_holds(width: int) -> None:
    assert blocks_of("simple_cnn", width) == counted("simple_cnn", width)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in sorted(_COSTS)]
)
def test_the_table_equals_what_is_divided(name: str) -> None:
    assert blocks_of(name) == counted(name)


def test_all_models_with_known_memory_are_in_it() -> None:
    assert _BLOCKS.keys() == _COSTS.keys()
    for name, found in _BLOCKS.items():
        cost = cost_of(name)
        assert cost is not None
        assert found.rest + found.largest <= cost.parameters
        assert found.largest or found.rest == cost.parameters
