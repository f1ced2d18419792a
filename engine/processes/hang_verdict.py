"""Verdict on ranks that hang: which one keeps the others waiting, where it is, and since when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gputrain.engine.common.sanitize import plain
from gputrain.engine.processes.rank_board import EXCHANGE, RankPlace

_FRAME = re.compile(r'^  File "([^"]+)", line (\d+) in (.+)$')
_LIBRARIES = ("site-packages/", "dist-packages/", "/lib/python3", "gputrain/engine/", "<frozen", "<string>")


def verdict(places: Sequence[RankPlace], lines: Mapping[int, str], stopped: Mapping[int, str], now: float) -> str:
    """One sentence about the ranks that are not waiting for others; empty if all wait, or none does.

    `lines`: the line of the user's code, or the innermost one, of each rank; `stopped`: why a rank cannot run.
    """
    behind = min((place.step for place in places), default=0)
    waiting = [place for place in places if place.place == EXCHANGE and place.rank not in stopped]
    late = [place for place in places if place not in waiting]
    if not waiting or not late:
        return ""
    first = min(late, key=lambda place: (place.step, place.since))
    since = max(place.since for place in waiting)
    what = stopped.get(first.rank) or f"it has been in {first.place} for {now - first.since:.0f} s"
    line = lines.get(first.rank, "")
    at = f" ({plain(line, 200)})" if line and first.rank not in stopped else ""
    more = f"; so have {len(late) - 1} more not" if len(late) > 1 else ""
    others = "1 other waits" if len(waiting) == 1 else f"{len(waiting)} others wait"
    return (
        f"rank {first.rank} has not entered the exchange of step {behind + 1}: {what}{at}{more}; {others} for it "
        f"since {now - since:.0f} s"
    )


def main_line(stacks: str) -> str:
    """The innermost line of the user's own code in the main thread, in the newest stacks that faulthandler wrote.

    Without such code the innermost line; ``file:line in function``, empty without stacks.
    """
    threads = re.split(r"^(?:Current thread|Thread) .*$", stacks, flags=re.M)
    # faulthandler writes the thread that got the signal last: the main one.
    frames = [found.groups() for line in threads[-1].splitlines() if (found := _FRAME.match(line))]
    own = [frame for frame in frames if not any(part in frame[0] for part in _LIBRARIES)]
    if not frames:
        return ""
    file, line, function = (own or frames)[0]
    return f"{file}:{line} in {function}"


def read_main_line(file: Path) -> str:
    """`main_line` of a file; empty if it can't be read."""
    try:
        return main_line(file.read_text(errors="replace"))
    except OSError:
        return ""
