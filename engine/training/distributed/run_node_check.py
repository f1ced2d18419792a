"""Checks of a group that a launcher started, before its first step: the nodes agree, and how fast they exchange."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import MIB
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.node_check import compare_ranks
from gputrain.engine.node_check.rank_facts import gather_facts
from gputrain.engine.processes.rank_environment import RankInfo
from gputrain.engine.training.distributed.process_group import SingleProcess

_TEST_BYTES = 16 * MIB
_TRIES = 3
_SLOW = 1e9
"""Bytes per second and GPU; an 8-GPU node with NVLink reaches a hundred times that, 10 Gbit/s Ethernet about this."""

Notify = Callable[[str, str], None]
"""Takes level and text of a notice."""


def check_nodes(group: SingleProcess, info: RankInfo, config: RunConfig, directory: Path, notify: Notify) -> None:
    """Compare all ranks; all call it. Rank 0 reports by `notify`. Raises BadInput on all ranks for what can't work."""
    began = time.monotonic()
    ranks = group.gather(gather_facts(info, config, directory))
    group.all_reduce_max((0,))
    clocks = group.gather(time.time())
    found = compare_ranks.compare(ranks, clocks, resumes=bool(config.resume_from))
    errors = [one.text for one in found if one.level == "error"]
    if group.is_main_process:
        for one in found:
            notify(one.level, one.text)
        if not found:
            notify("info", compare_ranks.in_order(ranks, clocks, time.monotonic() - began))
    if errors:
        raise BadInput("; ".join(errors))


def measure_exchange(group: SingleProcess, device: torch.device, notify: Notify) -> None:
    """Time a small test all-reduce over `device`; all ranks call it. Rank 0 reports it by `notify`."""
    tensor = torch.zeros(_TEST_BYTES // 4, device=device)
    best = float("inf")
    for _ in range(_TRIES + 1):
        _finish(device)
        group.all_reduce_max((0,))
        began = time.perf_counter()
        group.all_reduce_sum(tensor).wait()
        _finish(device)
        best = min(best, time.perf_counter() - began)
    if not group.is_main_process:
        return
    # Each rank sends and receives 2 (n - 1) / n of the bytes in a ring.
    rate = 2 * (group.count - 1) / group.count * _TEST_BYTES / best
    over = "NCCL" if device.type == "cuda" else "gloo"
    text = (
        f"test all-reduce of {_TEST_BYTES // MIB} MiB over {over}: {best * 1000:.1f} ms, {rate / 1e9:.2f} GB/s per rank"
    )
    if device.type == "cuda" and rate < _SLOW:
        notify("warning", f"{text}; slow for GPUs: check NCCL_SOCKET_IFNAME and the interconnect (NCCL_DEBUG=INFO)")
    else:
        notify("info", text)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
