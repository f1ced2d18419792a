"""The sentence about ranks of a script that make no steps: which one keeps the others waiting, and where. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gputrain.engine.common.sanitize import plain
from gputrain.engine.stacks.rank_waits import DEVICE

NO_STEPS = "no step for "
"""Start of all these sentences."""
GOES_ON = "the ranks go on"
"""Start of what is said when there are steps again."""
BUSY = 0.2
"""Share of a core from which a main thread is at work rather than waiting."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class RankLook:
    """A rank as two looks at it, some seconds apart, found it."""

    rank: int
    updates: int
    still: float
    """Seconds since its newest sign of life."""
    waits: str = ""
    """What it waits in for other ranks, see `rank_waits.waits_in`; empty: it is elsewhere."""
    line: str = ""
    """The line of the user's own code where it is, or a process that it waits for."""
    stopped: str = ""
    """Why it cannot run, in words."""
    unknown: str = ""
    """Why nothing is known of where it is, in words."""
    doubts: tuple[str, ...] = ()
    """Why it may be at work, in words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said."""

    level: Literal["info", "warning"]
    """``warning``: it is sure which rank the others wait for."""
    text: str


def verdict(looks: Sequence[RankLook], count: int) -> Verdict | None:
    """What is known of ranks that make no steps, of which there are `count` in all; None: nothing can be said.

    A rank whose stack is not known might be the one: then none is named.
    """
    if len(looks) < 2:
        return None
    head = f"{NO_STEPS}{min(one.still for one in looks):.0f} s: "
    if unknown := [one for one in looks if one.unknown]:
        ranks = "; ".join(f"of rank {one.rank}, {one.unknown}" for one in unknown[:_NAMED])
        return Verdict("info", f"{head}which rank hangs, if one does, is not known: there is no stack {ranks}")
    waiting = [one for one in looks if one.waits and not one.stopped]
    late = [one for one in looks if one not in waiting]
    if not late:
        return _all_wait(looks, count, head)
    if not waiting:
        return None
    first = min(late, key=lambda one: (one.updates, -one.still))
    text = f"{head}{_late(first, waiting, looks)}{_others(late, looks, count)}"
    if why := _doubts(first, looks):
        return Verdict("info", f"{text}. This may be work that takes long, not a hang: {', '.join(why)}")
    return Verdict("warning", text)


def _late(first: RankLook, waiting: Sequence[RankLook], looks: Sequence[RankLook]) -> str:
    """Which rank is late, where it is, and who waits for it where."""
    step = min(one.updates for one in looks) + 1
    where = first.stopped or (f"it is at {plain(first.line, 300)}" if first.line else "it is in code without a line")
    example = min(waiting, key=lambda one: one.rank)
    whom = f"rank {example.rank} waits" if len(waiting) == 1 else f"{len(waiting)} others wait"
    in_line = f" ({plain(example.line, 300)})" if example.line else ""
    return (
        f"rank {first.rank} keeps the others waiting in step {step}: {where}, since {first.still:.0f} s; "
        f"{whom} for it in {plain(example.waits, 80)}{in_line}, since {max(one.still for one in waiting):.0f} s"
    )


def _others(late: Sequence[RankLook], looks: Sequence[RankLook], count: int) -> str:
    more = f"; {len(late) - 1} more {'ranks do' if len(late) > 2 else 'rank does'} not wait" if len(late) > 1 else ""
    return more + (f"; {count - len(looks)} ranks on other machines are not seen here" if count > len(looks) else "")


def _all_wait(looks: Sequence[RankLook], count: int, head: str) -> Verdict:
    places = {(one.waits, one.updates): one for one in reversed(looks)}
    if len(places) == 1:
        one = looks[0]
        where = f"{head}all {len(looks)} ranks here wait in {plain(one.waits, 80)} ({plain(one.line, 300)}): "
        if count > len(looks):
            missing = f"the rank that they wait for is none of these; {count - len(looks)} are not seen here"
            return Verdict("info", where + missing)
        return Verdict("info", f"{where}none keeps the others waiting; look at the network between them and their GPUs")
    each = "; ".join(
        f"rank {one.rank} after {one.updates} updates in {plain(one.waits, 80)} ({plain(one.line, 300)})"
        for one in sorted(places.values(), key=lambda one: one.rank)[:_NAMED]
    )
    # The host runs ahead of a GPU: there, places may differ where the collectives do not.
    level: Literal["info", "warning"] = "info" if any(one.waits == DEVICE for one in looks) else "warning"
    return Verdict(level, f"{head}the ranks wait for each other in different places: {each}")


def _doubts(first: RankLook, looks: Sequence[RankLook]) -> list[str]:
    if first.stopped:
        return []
    found = list(first.doubts)
    if not any(one.updates for one in looks):
        found.append("no rank has done a step so far, and the first one takes longest")
    return found
