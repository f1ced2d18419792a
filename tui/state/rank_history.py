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

    __slots__ = ("folded", "times")

    def __init__(self) -> None:
        self.times: dict[int, RankTimes] = {}
        self.folded: dict[object, tuple[str, ...]] = {}
        """Cells that a panel drew of this column, by what they depend on."""

    def add(self, rank: int, times: RankTimes) -> None:
        """Add figures of `rank`."""
        before = self.times.get(rank)
        self.times[rank] = times if before is None else before.plus(times)


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

    def recent(self, columns: int = 8) -> dict[int, RankTimes]:
        """Sums of each rank over the newest columns, by rank."""
        known: dict[int, list[RankTimes]] = {}
        for column in self.columns[-columns:]:
            for rank, times in column.times.items():
                known.setdefault(rank, []).append(times)
        # Column by column, and not rank by rank with `plus`: hundreds of ranks are summed every two seconds.
        summed = ((rank, RankTimes._make(map(sum, zip(*known[rank], strict=True)))) for rank in sorted(known))
        return {rank: times for rank, times in summed if times.steps > 0}


class RankHistory:
    """Collects the figures of the ranks."""

    def __init__(self) -> None:
        self._columns: deque[RankColumn] = deque(maxlen=COLUMNS)
        self._column = RankColumn()
        self._ends: float | None = None
        self._places: dict[int, RankPlace] = {}
        self._frozen = Ranks()

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
            self._columns.append(self._column)
            count = max(self._frozen.count, 1 + max(self._column.times))
            self._frozen = Ranks(count, tuple(self._columns), dict(self._places))
        self._column = RankColumn()
        self._ends = elapsed + COLUMN_SECONDS

    def ranks(self) -> Ranks:
        """The ranks now, without the column that is still filled."""
        return self._frozen
