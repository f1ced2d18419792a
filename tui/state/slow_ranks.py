"""The slowest rank and node of a run, and the cause of their slowness. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from gputrain.engine.common.medians import median
from gputrain.engine.events import GpuSample, HardwareSample, NodeSample
from gputrain.tui.render import format as fmt
from gputrain.tui.state.rank_history import RankPlace, Ranks, RankTimes
from gputrain.tui.state.run_snapshot import Snapshot

SLOW = 0.10
"""Part of a step that a rank takes longer than the others from which it is marked; the hints have the same limit."""
_LOW_CLOCK = 0.9
"""Clock over that of the other GPUs, or over its maximum, below which it explains a slow rank."""
_LIMITS = ("software thermal", "hardware thermal", "hardware slowdown", "power brake", "power cap")
_FOREIGN_CORES = 0.25
"""Share of the usable cores that other programs use from which they explain a slow rank on a CPU."""

Kind = Literal["data", "clock", "neighbour", "unknown"]


class SlowRank(Struct, frozen=True):
    """A rank that the others wait for."""

    rank: int
    host: str
    gpu: int
    late: float
    """How much longer than the others it takes for a step, as a share of the step."""
    kind: Kind
    cause: str
    """In words."""


class SlowNode(Struct, frozen=True):
    """A machine all of whose ranks are slow."""

    host: str
    ranks: int
    late: float
    """As in `SlowRank`, of the mean of its ranks."""


class NodeTimes(Struct, frozen=True):
    """Means over the ranks of a machine, in seconds of a step."""

    host: str
    ranks: tuple[int, ...]
    step: float
    own: float
    data_wait: float
    exchange: float


def place_of(ranks: Ranks, rank: int, host: str) -> RankPlace:
    """Machine and GPU of a rank. `host`: the machine of the record."""
    found = ranks.places.get(rank, RankPlace())
    return RankPlace(found.host or host, rank if found.gpu is None else found.gpu)


def nodes_of(ranks: Ranks, recent: Mapping[int, RankTimes], host: str) -> list[NodeTimes]:
    """The machines, in the order of their first rank."""
    members: dict[str, list[int]] = {}
    for rank in recent:
        members.setdefault(place_of(ranks, rank, host).host or "", []).append(rank)
    return [_node(name, numbers, recent) for name, numbers in members.items()]


def _node(host: str, numbers: list[int], recent: Mapping[int, RankTimes]) -> NodeTimes:
    each = [recent[rank] for rank in numbers]
    count = len(each)
    return NodeTimes(
        host,
        tuple(numbers),
        sum(one.seconds / one.steps for one in each) / count,
        sum(one.own / one.steps for one in each) / count,
        sum(one.data_wait / one.steps for one in each) / count,
        sum(one.exchange / one.steps for one in each) / count,
    )


def slow_rank(now: Snapshot, recent: Mapping[int, RankTimes]) -> SlowRank | None:
    """The rank that the others wait for; None where none is much slower than the others."""
    if len(recent) < 2:
        return None
    own = {rank: times.own / times.steps for rank, times in recent.items()}
    slowest = max(own, key=lambda rank: own[rank])
    step = max(times.seconds / times.steps for times in recent.values())
    usual = median(seconds for rank, seconds in own.items() if rank != slowest)
    late = (own[slowest] - usual) / step if step > 0 else 0.0
    if late < SLOW:
        return None
    place = place_of(now.ranks, slowest, _host(now))
    kind, cause = _cause(now, recent, slowest, place, own[slowest] - usual)
    return SlowRank(slowest, place.host, place.gpu or 0, late, kind, cause)


def slow_node(nodes: list[NodeTimes]) -> SlowNode | None:
    """A machine whose ranks are all slower than those of the others; None where none is, or there is only one."""
    if len(nodes) < 2:
        return None
    slowest = max(nodes, key=lambda one: one.own)
    usual = median(one.own for one in nodes if one is not slowest)
    step = max(one.step for one in nodes)
    late = (slowest.own - usual) / step if step > 0 else 0.0
    return SlowNode(slowest.host, len(slowest.ranks), late) if late >= SLOW else None


def sample_of(now: Snapshot, host: str) -> HardwareSample | NodeSample | None:
    """The newest sample of a machine of the run; None without one."""
    return now.hardware if host == _host(now) else now.node_samples.get(host)


def _host(now: Snapshot) -> str:
    return now.started.host if now.started else ""


def _cause(
    now: Snapshot, recent: Mapping[int, RankTimes], rank: int, place: RankPlace, late: float
) -> tuple[Kind, str]:
    """Why `rank` is slow by `late` seconds a step: its data, its GPU's clock, or a neighbour on its machine."""
    waits = {one: times.data_wait / times.steps for one, times in recent.items()}
    usual = median(seconds for one, seconds in waits.items() if one != rank)
    if waits[rank] - usual >= 0.5 * late:
        share = recent[rank].data_wait / recent[rank].seconds if recent[rank].seconds else 0.0
        return "data", f"its data: it waits {fmt.share(share)} of a step"
    sample = sample_of(now, place.host)
    if sample is None:
        return "unknown", "its computing; there is no sample of its machine"
    if not sample.gpus:
        return _on_cpu(sample)
    gpu = next((one for one in sample.gpus if one.cuda_index == place.gpu), None)
    return _on_gpu(gpu, sample) if gpu is not None else ("unknown", "its computing; its GPU is not sampled")


def _on_gpu(gpu: GpuSample, sample: HardwareSample | NodeSample) -> tuple[Kind, str]:
    others = [one.sm_clock for one in sample.gpus if one is not gpu and one.sm_clock and one.cuda_index is not None]
    limits = [reason for reason in gpu.throttle if reason in _LIMITS]
    if gpu.sm_clock:
        most = median(others) if others else gpu.sm_clock_max
        if most and gpu.sm_clock / most < _LOW_CLOCK:
            why = f", {', '.join(limits)}" if limits else ""
            against = "of the others'" if others else "of its maximum"
            return "clock", f"its GPU's clock: {gpu.sm_clock} MHz, {fmt.share(gpu.sm_clock / most)} {against}{why}"
    strangers = [one for one in gpu.processes if not one.ours]
    if strangers:
        names = sorted({one.name or f"pid {one.pid}" for one in strangers})
        return "neighbour", f"its neighbour: {', '.join(names[:2])} on the same GPU"
    if limits:
        return "clock", f"its GPU's clock: {', '.join(limits)}"
    if gpu.error:
        return "unknown", f"its GPU: {gpu.error}"
    return "unknown", "its computing: its GPU has the usual clock and no other program"


def _on_cpu(sample: HardwareSample | NodeSample) -> tuple[Kind, str]:
    if (sample.foreign_cpu or 0.0) >= _FOREIGN_CORES * max(1.0, sample.usable_cores):
        names = ", ".join(one.name for one in sample.other_processes[:2])
        return "neighbour", f"its neighbour: {names or 'other programs'} use {sample.foreign_cpu:.1f} cores"
    return "unknown", "its computing: no other program uses many cores"
