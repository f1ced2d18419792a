"""Signals of a run with several ranks: the slowest rank, and the time for the gradient all-reduce. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from gputrain.engine.configuration import global_batch
from gputrain.engine.events import RankSteps, Steps


class _Share(Struct):
    """Mean seconds of a step on one rank."""

    rank: int
    step: float
    wait: float
    exchange: float

    @property
    def own(self) -> float:
        """The rank's own time, without the all-reduce, which contains waiting for other ranks."""
        return self.step - self.exchange


def ranks_of(settings: Mapping[str, Any]) -> int:
    """Number of ranks of a run with these settings, those of all its hosts; 1 where they say nothing."""
    return global_batch.rank_count({"devices": 1, **settings})


def rank_shares(steps: Iterable[Steps], others: Iterable[RankSteps]) -> dict[str, Any]:
    """Signals by name; empty where one process trains alone."""
    first = [one for one in steps if one.exchange is not None]
    exchanged = sum(one.exchange or 0.0 for one in first)
    seconds, count = sum(one.window_seconds for one in first), sum(one.window_steps for one in first)
    if not count:
        return {}
    found = [_Share(0, seconds / count, sum(one.data_wait for one in first) / count, exchanged / count)]
    by_rank: dict[int, list[RankSteps]] = {}
    for one in others:
        by_rank.setdefault(one.rank, []).append(one)
    for rank, events in sorted(by_rank.items()):
        number = sum(one.window_steps for one in events)
        parts = [sum(getattr(one, name) for one in events) for name in ("window_seconds", "data_wait", "exchange")]
        found.append(_Share(rank, *(part / number for part in parts)))
    step = max(one.step for one in found)
    if len(found) == 1 or step <= 0:
        return {"exchange": exchanged / seconds}
    slowest = max(found, key=lambda one: one.own)
    rest = [one.own for one in found if one is not slowest]
    late = slowest.own - sum(rest) / len(rest)
    waits = slowest.wait - sum(one.wait for one in found if one is not slowest) / len(rest)
    return {
        "exchange": exchanged / seconds,
        # The rank that waits least waits for no other rank: its time is the all-reduce itself.
        "least_exchange": min(one.exchange for one in found) / step,
        "slowest_rank": slowest.rank,
        "rank_skew": late / step,
        "late_by_data": min(1.0, max(0.0, waits / late)) if late > 0 else None,
    }
