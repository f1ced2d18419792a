"""The place of a rank that a launcher started, which it sends to rank 0 with each heartbeat."""

from __future__ import annotations

import time

import msgspec

from gputrain.engine.processes import hanging_ranks
from gputrain.engine.processes.rank_board import EXCHANGE, PLACES, STILL_SECONDS, RankBoard, RankReport
from gputrain.engine.training.distributed import flight_recorder


class SentBoard(RankBoard):
    """This rank's place, in its own memory."""

    def __init__(self, rank: int, host: str) -> None:
        self.step = 0
        self._rank, self._host = rank, host
        self.enter(PLACES[0])

    def enter(self, place: str) -> None:
        """See `RankBoard`."""
        self._at = place, time.monotonic()

    def report(self) -> RankReport:
        """Where this rank is now, with its line of code if it has been there for long. Any thread may call it."""
        place, since = self._at
        report = RankReport(self._rank, self._host, self.step, place, time.monotonic() - since)
        if report.seconds < STILL_SECONDS:
            return report
        line, waits = hanging_ranks.own_main_line()
        number, name = flight_recorder.newest_collective()
        # Divided weights are exchanged within the forward and the backward pass.
        place = EXCHANGE if waits else place
        return msgspec.structs.replace(report, place=place, line=line, collectives=number, collective=name)
