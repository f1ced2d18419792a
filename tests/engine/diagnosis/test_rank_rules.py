"""Several ranks: who is waited for, and what the exchange itself costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from helpers.diagnosis.made_events import second, started

from gputrain.engine.diagnosis.rules import evaluate
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.diagnosis.windows.rank_shares import rank_shares
from gputrain.engine.events import AnyEvent, Hint, RankSteps, RunStarted, Steps


def hints(exchange: float, others: Mapping[int, tuple[float, float]], wait: float = 0.0) -> dict[str, Hint]:
    """What is said of ranks of which each is (seconds of data wait, seconds of exchange) in a second of 10 steps."""
    window = run_of(1 + len(others))
    for at in range(11, 40):
        for event in second(float(at), wait=wait, utilization=95.0):
            window.feed(changed(event, Steps, exchange=exchange, compute=1 - wait - exchange))
        for rank, (waited, exchanged) in others.items():
            window.feed(of_rank(float(at), rank, waited, exchanged))
    signals = window.signals()
    assert signals is not None
    return evaluate(signals)


def run_of(ranks: int, **more: Any) -> EventWindow:
    """A window that knows of a run with so many ranks."""
    window = EventWindow()
    for event in started():
        own = {**event.settings, "ranks": ranks} if isinstance(event, RunStarted) else {}
        window.feed(changed(event, RunStarted, settings=own, **more))
    return window


def changed(event: AnyEvent, kind: type[AnyEvent], **values: Any) -> AnyEvent:
    return msgspec.structs.replace(event, **values) if isinstance(event, kind) else event


def of_rank(at: float, rank: int, wait: float, exchange: float) -> AnyEvent:
    return RankSteps(
        mono=at,
        rank=rank,
        window_steps=10,
        window_seconds=1.0,
        data_wait=wait,
        compute=1 - wait - exchange,
        exchange=exchange,
    )


def test_even_ranks_that_wait_little_have_no_cause() -> None:
    found = hints(0.03, {1: (0.0, 0.03), 2: (0.0, 0.04)})
    assert not found.keys() & {"slow-rank", "communication"}


def test_the_one_that_all_wait_for_is_named() -> None:
    found = hints(0.3, {1: (0.0, 0.02), 2: (0.0, 0.3)})
    hint = found["slow-rank"]
    assert hint.severity == "critical"
    assert "Rank 1 computes more slowly" in hint.action
    assert "GPU 1" in hint.action
    assert "28 %" in hint.evidence
    assert "communication" not in found


def test_one_whose_data_come_late_is_told_as_that() -> None:
    found = hints(0.3, {1: (0.28, 0.02)})
    assert "Rank 1 waits for data while the others compute" in found["slow-rank"].action


def test_rank_0_may_be_the_slow_one() -> None:
    found = hints(0.01, {1: (0.0, 0.25), 2: (0.0, 0.25)})
    assert "Rank 0 computes more slowly" in found["slow-rank"].action


def test_an_exchange_that_even_the_slowest_waits_for_is_the_wire() -> None:
    found = hints(0.25, {1: (0.0, 0.27), 2: (0.0, 0.26)})
    assert "accumulation_steps=2" in found["communication"].action
    assert "slow-rank" not in found


def test_one_process_alone_has_no_such_signals() -> None:
    (steps,) = [event for event in second(20.0) if isinstance(event, Steps)]
    assert rank_shares([steps], []) == {}


def test_what_is_promised_is_what_all_ranks_do_together() -> None:
    def promised(ranks: int) -> Any:
        window = run_of(ranks, usable_cores=16.0 * ranks)
        for at in range(11, 40):
            for event in second(float(at)):
                window.feed(changed(event, Steps, images_per_second=20.0 * ranks))
        signals = window.signals()
        assert signals is not None
        found = [hint.prediction for hint in evaluate(signals).values() if "num_workers" in hint.changes]
        assert found
        assert found[0] is not None
        return found[0]

    one, two = promised(1), promised(2)
    assert (two.low, two.high) == (2 * one.low, 2 * one.high)
    assert two.limiter == one.limiter
