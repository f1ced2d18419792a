"""torch.compile for a whole network or for its repeated blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gputrain.engine.configuration.setting_definitions import SpeedConfig
from gputrain.engine.training.networks.blocks import blocks_of

Forward = Callable[[torch.Tensor], torch.Tensor]


def compile_network(network: nn.Module, speed: SpeedConfig, notice: Callable[[str, str], None]) -> Forward:
    """The compiled forward pass of `network`; the first call compiles.

    With ``compile_scope: blocks`` each repeated block is compiled in place, equal blocks once. That starts faster where
    all blocks are alike (a transformer), not where each stage has its own shapes (a ResNet). Nothing is fused across
    blocks.
    """
    if speed.compile_scope == "blocks":
        blocks = blocks_of(network)
        if blocks:
            # Blocks of one class share their code; each shape is a separate compilation.
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, 2 * len(blocks))
            for block in blocks:
                # Like Module.compile, but with a function of this module: torch 2.11 does not compile a call that
                # starts in one of its own modules, such as nn.Sequential.
                block._compiled_call_impl = torch.compile(_call_of(block), mode=speed.compile_mode)
            return network
        notice("info", "compile_scope: the model has no repeated blocks: it is compiled as a whole")
    return torch.compile(network, mode=speed.compile_mode)


def _call_of(block: nn.Module) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return block._call_impl(*arguments, **named)

    return call


def undo(network: nn.Module) -> Forward:
    """The network without compilation, after a compilation failed."""
    for block in blocks_of(network):
        # There is no public API for this.
        block._compiled_call_impl = None
    return network


def uses_cuda_graphs(speed: SpeedConfig) -> bool:
    """Whether the compile mode uses CUDA graphs, which need cudagraph_mark_step_begin."""
    return speed.compile and speed.compile_mode in ("reduce-overhead", "max-autotune")
