"""Which process of a script is the one whose steps are the run's: several may train, together or one after the other.

It is rank 0, or the one that made most updates. It stays while it trains, so that trainings side by side are not mixed;
when it has ended, or has been idle while another one trains, that one follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gputrain.engine.probe import layout
from gputrain.engine.user_script.script_rank import ScriptRank

IDLE_SECONDS = 3.0
"""Least time without an update, while another process makes some, after which a process is idle."""
_IDLE_STEPS = 5.0
"""The same in steps of its own."""


class ScriptLeader:
    """Chooses among the processes that have made an update."""

    def __init__(self) -> None:
        self._now: ScriptRank | None = None
        self._before: ScriptRank | None = None

    def choose(self, ranks: Iterable[ScriptRank]) -> ScriptRank | None:
        """The leader now; None if nobody has trained so far."""
        trained = [rank for rank in ranks if rank.page.slots[layout.UPDATES] > 0]
        if not trained:
            return None
        alive = [rank for rank in trained if _is_alive(rank, trained) or _has_mates(rank, trained)]
        if alive:
            best = min(alive, key=lambda one: (one.number, -one.page.slots[layout.UPDATES]))
        else:
            best = min(trained, key=lambda one: (one.number, -_last_step(one)))
        now = self._now
        if now is None:
            self._now = best
        elif best is not now and self._must_follow(now, best, alive):
            # Rank 0 may make its first update after the others: it is the same training.
            self._before = None if now.ranked and best.number < now.number else now
            self._now = best
        return self._now

    @staticmethod
    def _must_follow(now: ScriptRank, best: ScriptRank, alive: list[ScriptRank]) -> bool:
        if best.number > now.number:
            # Rank 0 has ended before the others.
            return False
        return now not in alive or best.number < now.number or _is_idle(now, best)

    def follows(self) -> ScriptRank | None:
        """Whom the present leader followed, once."""
        before, self._before = self._before, None
        return before


def mates(leader: ScriptRank, ranks: Iterable[ScriptRank]) -> list[ScriptRank]:
    """The leader, and the other ranks of its training; of those with one number the newest, after a restart."""
    found: dict[int, ScriptRank] = {}
    for rank in ranks if leader.ranked else ():
        before = found.get(rank.number)
        if rank.ranked and (before is None or _last_step(rank) > _last_step(before)):
            found[rank.number] = rank
    found.pop(leader.number, None)
    return [leader, *found.values()]


def _last_step(rank: ScriptRank) -> float:
    return rank.page.slots[layout.LAST_STEP]


def _is_alive(rank: ScriptRank, others: Iterable[ScriptRank]) -> bool:
    """Whether its process runs, and is still the program that made its page."""
    page = rank.page
    newest = max(other.page.life for other in others if other.page.pid == page.pid)
    return page.life == newest and Path(f"/proc/{page.pid}").exists()


def _has_mates(rank: ScriptRank, others: list[ScriptRank]) -> bool:
    """Whether other ranks of its training go on; ranks do not end at the same moment."""
    if not rank.ranked or any(_last_step(other) > _last_step(rank) for other in others if other.number == rank.number):
        return False
    return any(other.ranked and other.number != rank.number and _is_alive(other, others) for other in others)


def _is_idle(now: ScriptRank, other: ScriptRank) -> bool:
    slots = now.page.slots
    step = slots[layout.STEP_SECONDS] / slots[layout.UPDATES]
    return _last_step(other) - _last_step(now) > max(IDLE_SECONDS, _IDLE_STEPS * step)
