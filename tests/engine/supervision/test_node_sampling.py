"""Samples of a machine without a supervisor reach rank 0's record."""

from __future__ import annotations

import threading

from helpers.tui.storing import window

from gputrain.engine import events
from gputrain.engine.events import AnyEvent, NodeSample, RankSteps
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.rank_events import RankEvents
from gputrain.engine.processes.rank_processes import RankReporter
from gputrain.engine.supervision.node_sampling import start_node_sampling


class Kept(EventReporter):
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: list[AnyEvent] = []

    def send(self, event: AnyEvent) -> None:
        self.sent.append(event)


def test_a_real_sample_comes_to_rank_0() -> None:
    at_rank_0, arrived = Kept(), threading.Event()
    others = RankEvents(at_rank_0)

    def link(raw: bytes) -> None:
        others.take_encoded(8, raw)
        arrived.set()

    rank = RankReporter(link, 8, "node-b", 0)
    start_node_sampling("node-b", rank.send, seconds=3600.0)
    assert arrived.wait(30)
    (sample,) = at_rank_0.sent
    assert isinstance(sample, NodeSample)
    assert sample.host == "node-b"
    assert sample.usable_cores > 0
    assert events.decode(events.encode(sample)) == sample
    for _ in range(2):
        rank.steps(window(exchange=0.1))
    assert [type(one) for one in at_rank_0.sent[1:]] == [RankSteps]
