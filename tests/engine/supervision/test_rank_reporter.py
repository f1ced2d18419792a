"""Step times of rank 1 and up, on their way to rank 0."""

from __future__ import annotations

from helpers.tui.storing import window

from gputrain.engine import events
from gputrain.engine.events import RankSteps
from gputrain.engine.processes.rank_processes import RankReporter


def reported(reporter: RankReporter, sent: list[bytes]) -> list[RankSteps]:
    for _ in range(5):
        reporter.steps(window(exchange=0.25))
    found = [events.decode(raw) for raw in sent]
    assert all(isinstance(one, RankSteps) for one in found)
    return [one for one in found if isinstance(one, RankSteps)]


def test_windows_are_summed_and_sent_every_two_seconds() -> None:
    sent: list[bytes] = []
    found = reported(RankReporter(sent.append, 3), sent)
    assert [(one.rank, one.window_steps, one.window_seconds) for one in found] == [(3, 4, 2.0), (3, 4, 2.0)]
    assert (found[0].data_wait, found[0].exchange) == (0.4, 0.5)
    assert (found[0].host, found[0].gpu) == ("", None)


def test_a_rank_of_another_machine_says_where_it_is() -> None:
    sent: list[bytes] = []
    found = reported(RankReporter(sent.append, 9, "node-b", 1), sent)
    assert {(one.host, one.gpu) for one in found} == {("node-b", 1)}


def test_step_times_need_not_wait_for_the_way_of_other_events() -> None:
    sent: list[bytes] = []
    recorded: list[bytes] = []
    found = reported(RankReporter(sent.append, 9, record=recorded.append), recorded)
    assert (len(found), sent) == (2, [])
