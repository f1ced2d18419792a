"""torch.compile: whole networks or their repeated blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gputrain.engine.configuration.run_config import SpeedConfig
from gputrain.engine.training.networks.blocks import blocks_of

Forward = Callable[[torch.Tensor], torch.Tensor]


def compile_network(network: nn.Module, speed: SpeedConfig, notice: Callable[[str, str], None]) -> Forward:
    """`network` as its forward pass is to be called; nothing is compiled before the first call.

    With ``compile_scope: blocks`` each repeated block is compiled in its place, equal blocks once. Blocks that are
    all alike (a transformer's) start sooner so; where each stage has shapes of its own (a ResNet) there is nothing to
    win. Nothing is fused across their borders.
    """
    if speed.compile_scope == "blocks":
        blocks = blocks_of(network)
        if blocks:
            # Blocks of one class share their code; each shape of them is a compilation of its own.
            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, 2 * len(blocks))
            for block in blocks:
                # As Module.compile does, but for a call that is ours: torch 2.11 compiles none that begins within a
                # module of its own, such as nn.Sequential.
                block._compiled_call_impl = torch.compile(_call_of(block), mode=speed.compile_mode)
            return network
        notice("info", "compile_scope: the model has no blocks that repeat: it is compiled as a whole")
    return torch.compile(network, mode=speed.compile_mode)


def _call_of(block: nn.Module) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return block._call_impl(*arguments, **named)

    return call


def undo(network: nn.Module) -> Forward:
    """Back to the plain network, after a compilation that failed."""
    for block in blocks_of(network):
        # There is no public way back.
        block._compiled_call_impl = None
    return network


def uses_cuda_graphs(speed: SpeedConfig) -> bool:
    """Whether the mode of compilation replays steps as CUDA graphs, which must be told where a step begins."""
    return speed.compile and speed.compile_mode in ("reduce-overhead", "max-autotune")
