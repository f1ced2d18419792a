"""Verdict on ranks that hang: which one keeps the others waiting, where it is, and since when."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from gputrain.engine.common.library_code import is_library
from gputrain.engine.common.sanitize import plain
from gputrain.engine.processes.rank_board import EXCHANGE, RankPlace

_FRAME = re.compile(r'^  File "([^"]+)", line (\d+) in (.+)$')
_COLLECTIVES = "torch/distributed/distributed_c10d.py"
_INNERMOST = 4
"""Frames in which a call of a collective is looked for."""

Frame = tuple[str, str, str]
"""File, line and function."""


def verdict(
    places: Sequence[RankPlace],
    lines: Mapping[int, str],
    stopped: Mapping[int, str],
    now: float,
    hosts: Mapping[int, str] | None = None,
) -> str:
    """One sentence about the ranks that are not waiting for others; empty if all wait, or none does.

    `lines`: the line of the user's code, or the innermost one, of each rank; `stopped`: why a rank cannot run; `hosts`:
    where a rank is, if that is not clear.
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
    host = f" on {plain((hosts or {}).get(first.rank, ''), 80)}" if first.rank in (hosts or {}) else ""
    return (
        f"rank {first.rank}{host} has not entered the exchange of step {behind + 1}: {what}{at}{more}; {others} for it "
        f"since {now - since:.0f} s"
    )


def main_line(stacks: str) -> str:
    """The innermost line of the user's own code in the main thread, in the newest stacks that faulthandler wrote.

    Without such code the innermost line; ``file:line in function``, empty without stacks.
    """
    return _line_of(_main_frames(stacks))


def waits_in_collective(stacks: str) -> bool:
    """Whether the main thread waits for other ranks, by the newest stacks that faulthandler wrote."""
    return _in_collective(_main_frames(stacks))


def read_stacks(file: Path) -> str:
    """The stacks in a file; empty if it can't be read."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def own_main_line() -> tuple[str, bool]:
    """`main_line` and `waits_in_collective` of this process, from another thread of it."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    frames: list[Frame] = []
    while frame is not None:
        frames.append((frame.f_code.co_filename, str(frame.f_lineno), frame.f_code.co_name))
        frame = _outer(frame)
    return _line_of(frames), _in_collective(frames)


def _outer(frame: FrameType) -> FrameType | None:
    return frame.f_back


def _main_frames(stacks: str) -> list[Frame]:
    threads = re.split(r"^(?:Current thread|Thread) .*$", stacks, flags=re.M)
    # faulthandler writes the thread that got the signal last: the main one.
    found = [_FRAME.match(line) for line in threads[-1].splitlines()]
    return [(one[1], one[2], one[3]) for one in found if one]


def _in_collective(frames: Sequence[Frame]) -> bool:
    return any(file.endswith(_COLLECTIVES) for file, _, _ in frames[:_INNERMOST])


def _line_of(frames: Sequence[Frame]) -> str:
    own = [frame for frame in frames if not is_library(frame[0])]
    if not frames:
        return ""
    file, line, function = (own or frames)[0]
    return f"{file}:{line} in {function}"
