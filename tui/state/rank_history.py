"""The step times of all ranks over the last minutes: one column of figures for every two seconds. Pure.

Finished columns never change, so that panels keep what they drew of them.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from msgspec import Struct

from gputrain.engine.events import RankSteps, Steps

COLUMN_SECONDS = 2.0
"""Run time of one column; a rank reports about as often."""
COLUMNS = 240
"""Columns kept: eight minutes."""
MOST_RANKS = 4096
"""Ranks beyond are not kept."""


class RankTimes(NamedTuple):
    """Sums of one rank, in seconds of `steps` steps."""

    steps: int
    seconds: float
    data_wait: float
    exchange: float

    @property
    def own(self) -> float:
        """Seconds without the exchange, in which the rank waits for others."""
        return max(0.0, self.seconds - self.exchange)

    def plus(self, other: RankTimes) -> RankTimes:
        """The sums of both."""
        return RankTimes(
            self.steps + other.steps,
            self.seconds + other.seconds,
            self.data_wait + other.data_wait,
            self.exchange + other.exchange,
        )


class RankColumn:
    """The figures of all ranks in `COLUMN_SECONDS`; not changed once it is finished."""

    __slots__ = ("carried", "folded", "last", "start", "times")

    def __init__(self, start: int = 0) -> None:
        self.start = start
        """Number of the start of the ranks that it belongs to."""
        self.last = 0
        """The highest rank in it."""
        self.times: dict[int, RankTimes] = {}
        self.carried: set[int] = set()
        """Ranks whose figures are those of the column before."""
        self.folded: dict[object, tuple[str, ...]] = {}
        """Cells that a panel drew of this column, by what they depend on."""

    def add(self, rank: int, times: RankTimes) -> None:
        """Add figures of `rank`."""
        before = self.times.get(rank)
        self.times[rank] = times if before is None else before.plus(times)
        self.last = max(self.last, rank)

    def carry(self, before: RankColumn) -> None:
        """Take the figures before of ranks that reported nothing: their reports come every two to three seconds."""
        for rank in before.times.keys() - self.times.keys() - before.carried:
            self.add(rank, before.times[rank])
            self.carried.add(rank)


class RankPlace(Struct, frozen=True):
    """Where a rank runs."""

    host: str = ""
    """Its machine; empty: that of the record."""
    gpu: int | None = None
    """Its CUDA device there; None: the number of the rank."""


class Ranks(Struct, frozen=True):
    """The ranks of a run at one moment. Compared by identity: a new one comes with each column."""

    count: int = 1
    columns: tuple[RankColumn, ...] = ()
    """The newest finished ones, oldest first."""
    places: dict[int, RankPlace] = {}
    """Only of ranks that reported theirs."""
    lost: dict[str, float] = {}
    """Machines of an earlier start that have no ranks now, with the run time in seconds of their last step."""

    def recent(self, columns: int = 8) -> dict[int, RankTimes]:
        """Sums of each rank over the newest columns since the last start, by rank."""
        known: dict[int, list[RankTimes]] = {}
        newest = self.columns[-1].start if self.columns else 0
        for column in self.columns[-columns:]:
            if column.start != newest:
                continue
            for rank, times in column.times.items():
                known.setdefault(rank, []).append(times)
        # Column by column, and not rank by rank with `plus`: hundreds of ranks are summed every two seconds.
        summed = ((rank, RankTimes._make(map(sum, zip(*known[rank], strict=True)))) for rank in sorted(known))
        return {rank: times for rank, times in summed if times.steps > 0}


class RankHistory:
    """Collects the figures of the ranks."""

    def __init__(self) -> None:
        self._columns: deque[RankColumn] = deque(maxlen=COLUMNS)
        self._starts = 0
        self._column = RankColumn()
        self._ends: float | None = None
        self._places: dict[int, RankPlace] = {}
        self._seen: dict[str, float] = {}
        """Machines other than that of the record, with the run time of their last column."""
        self._frozen = Ranks()

    def restart(self, host: str, elapsed: float) -> None:
        """Ranks start, on other machines than before perhaps. `host`: of rank 0; empty: that of the record."""
        if self._column.times:
            self._finish(elapsed)
        self._starts += 1
        self._column, self._ends = RankColumn(self._starts), None
        self._places = {0: RankPlace(host, 0)} if host else {}

    def take(self, event: Steps | RankSteps, elapsed: float) -> None:
        """A window of steps, of rank 0 (`Steps`, with an exchange) or another. `elapsed`: run seconds."""
        if self._ends is None or elapsed >= self._ends:
            self._finish(elapsed)
        if isinstance(event, RankSteps):
            rank = event.rank
            if not 0 < rank < MOST_RANKS:
                return
            if (event.host or event.gpu is not None) and rank not in self._places:
                self._places[rank] = RankPlace(event.host, event.gpu)
        else:
            rank = 0
        times = RankTimes(event.window_steps, event.window_seconds, event.data_wait, event.exchange or 0.0)
        self._column.add(rank, times)

    def _finish(self, elapsed: float) -> None:
        if self._column.times:
            if self._columns and self._columns[-1].start == self._column.start:
                self._column.carry(self._columns[-1])
            self._columns.append(self._column)
            count = 1 + max(column.last for column in self._columns)
            here = {place.host for place in self._places.values()}
            self._seen.update(dict.fromkeys(here - {""}, elapsed))
            lost = {host: since for host, since in self._seen.items() if host not in here}
            self._frozen = Ranks(count, tuple(self._columns), dict(self._places), lost)
        self._column = RankColumn(self._starts)
        self._ends = elapsed + COLUMN_SECONDS

    def ranks(self) -> Ranks:
        """The ranks now, without the column that is still filled."""
        return self._frozen
