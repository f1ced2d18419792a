"""Chooses how several ranks train one network: DistributedDataParallel, or divided weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from gputrain.engine.configuration.sections.distributed_settings import DistributedConfig
from gputrain.engine.training.distributed.ddp_network import DataParallel
from gputrain.engine.training.distributed.process_group import ProcessGroup, SingleProcess

if TYPE_CHECKING:
    from gputrain.engine.training.distributed.fsdp_network import ShardedNetwork


def parallel_network(
    network: nn.Module, config: DistributedConfig, ranks: SingleProcess, on_computed: Callable[[], None]
) -> DataParallel | ShardedNetwork | None:
    """`network` on several ranks; None for a single process. Copies rank 0's weights to all. Raises RankLostError.

    `on_computed`: see `DataParallel`; with divided weights the exchange can't be told from the computing.
    """
    if not isinstance(ranks, ProcessGroup):
        return None
    if config.sharding == "full":
        from gputrain.engine.training.distributed.fsdp_network import ShardedNetwork  # no other run waits for FSDP

        return ShardedNetwork(network, ranks, config.gradient_compression)
    return DataParallel(network, ranks, on_computed, config.gradient_compression, config.bucket_mib)
