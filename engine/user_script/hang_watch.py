"""Watches whether the ranks of a script make steps, and looks at their stacks when they do not.

`HangWatch.feed` is called on the thread that reads the pages. It never waits: a look takes seconds, on a thread of its
own. Only processes that answer `stack_dump.SIGNAL` are asked for stacks; no other one gets a signal.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from gputrain.engine.events import Notice
from gputrain.engine.probe import layout
from gputrain.engine.user_script.hang_verdict import GOES_ON, RankLook, Verdict, verdict
from gputrain.engine.user_script.page_reader import MappedPage
from gputrain.engine.user_script.rank_looks import Places, is_running, look

_SIGNS = (
    layout.UPDATES,
    layout.BACKWARDS,
    layout.BATCHES,
    layout.VALIDATION_BATCHES,
    layout.LOADERS,
    layout.RING_END,
    layout.REPORTED,
    layout.PHASE,
)
"""Figures of a process that trains which change while it goes on."""
_WORKER_SIGNS = (layout.FETCHES, layout.WORKER_SAMPLES)
_CHECK_SECONDS = 1.0


@dataclass(slots=True)
class _Life:
    """What was last seen of a rank."""

    page: MappedPage
    signs: tuple[float, ...]
    at: float
    """When they changed."""


class HangWatch:
    """One script's ranks. Times: seconds of the monotonic clock."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds without a sign of life from any rank after which they are looked at; 0: never."""
        self._limit = limit
        self._lives: dict[int, _Life] = {}
        self._checked = 0.0
        self._look: threading.Thread | None = None
        self._found: dict[int, Places] | None = None
        self._looked = 0.0
        """When the present or newest look began."""
        self._told: Verdict | None = None
        """What was said of the present silence."""
        self._silent_since = 0.0

    def feed(self, now: float, pages: Sequence[MappedPage]) -> list[Notice]:
        """Look at the pages; returns what is to be said."""
        if not self._limit or now - self._checked < _CHECK_SECONDS:
            return []
        self._checked = now
        self._learn(now, pages)
        newest = max((life.at for life in self._lives.values()), default=now)
        found = self._resumed(newest)
        if self._look is not None:
            if not self._look.is_alive():
                self._look = None
                # Whoever moved meanwhile does not hang.
                if newest < self._looked:
                    found += self._judge(now)
        elif self._lives and now - newest >= self._limit and now - max(newest, self._looked) >= self._limit:
            self._begin(now)
        return found

    def _learn(self, now: float, pages: Sequence[MappedPage]) -> None:
        made: dict[int, float] = {}
        for page in pages:
            if page.is_worker:
                # Without workers a loop makes its batches itself, and counts them on a page of its own.
                owner = int(page.slots[layout.PARENT]) if page.slots[layout.WORKER_ID] >= 0 else page.pid
                made[owner] = made.get(owner, 0.0) + sum(page.slots[slot] for slot in _WORKER_SIGNS)
        for page in pages:
            if page.is_worker or page.slots[layout.RANK] < 0 or page.slots[layout.WORLD] < 2:
                continue
            signs = (*(page.slots[slot] for slot in _SIGNS), made.get(page.pid, 0.0))
            life = self._lives.get(page.pid)
            if life is None:
                self._lives[page.pid] = _Life(page, signs, now)
            elif life.signs != signs:
                life.signs, life.at = signs, now

    def _resumed(self, newest: float) -> list[Notice]:
        if self._told is None or newest <= self._silent_since:
            return []
        self._told = None
        text = f"{GOES_ON}, after {newest - self._silent_since:.0f} s"
        return [Notice(level="info", text=text, source="supervisor")]

    def _begin(self, now: float) -> None:
        self._lives = {pid: life for pid, life in self._lives.items() if is_running(pid)}
        if not self._lives:
            return
        self._looked, self._found = now, None
        ranks = {pid: int(life.page.slots[layout.RANK]) for pid, life in self._lives.items()}
        on_device = any(life.page.slots[layout.ON_CUDA] > 0 for life in self._lives.values())
        self._look = threading.Thread(target=self._work, args=(ranks, on_device), name="hang", daemon=True)
        self._look.start()

    def _work(self, ranks: Mapping[int, int], on_device: bool) -> None:
        with contextlib.suppress(psutil.Error, OSError):
            self._found = look(ranks, on_device=on_device)

    def _judge(self, now: float) -> list[Notice]:
        if not self._found:
            return []
        count = max(int(life.page.slots[layout.WORLD]) for life in self._lives.values())
        looks = [self._described(now, pid, place) for pid, place in self._found.items()]
        said = verdict(sorted(looks, key=lambda one: one.rank), count)
        # Once for each silence, and once more if it becomes sure.
        if said is None or (self._told is not None and (self._told.level == "warning" or said.level == "info")):
            return []
        self._told = said
        self._silent_since = max(life.at for life in self._lives.values())
        return [Notice(level=said.level, text=said.text, source="supervisor")]

    def _described(self, now: float, pid: int, place: Places) -> RankLook:
        life = self._lives.get(pid)
        doubts = list(place.doubts)
        if life is not None and life.page.slots[layout.PHASE] == layout.VALIDATION and "it validates" not in doubts:
            doubts.append("it validates")
        return RankLook(
            rank=place.rank,
            updates=round(life.page.slots[layout.UPDATES]) if life else 0,
            still=now - (life.at if life else self._looked - self._limit),
            waits=place.waits,
            line=place.line,
            stopped=place.stopped,
            unknown=place.unknown,
            doubts=tuple(doubts),
        )
