"""Hints for several ranks: the slowest rank, and the time for the gradient all-reduce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from helpers.diagnosis.made_events import second, started

from gputrain.engine.diagnosis.decision_tree import evaluate
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.diagnosis.windows.rank_shares import rank_shares
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import AnyEvent, Hint, RankSteps, RunStarted, Steps


def hints(exchange: float, others: Mapping[int, tuple[float, float]], wait: float = 0.0) -> dict[str, Hint]:
    """Hints for ranks, each given as (seconds of data wait, seconds of all-reduce) in a second of 10 steps."""
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
    """A window that has seen the start of a run with `ranks` ranks."""
    window = EventWindow()
    for event in started():
        own = {**event.settings, "devices": ranks} if isinstance(event, RunStarted) else {}
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


def test_balanced_ranks_give_no_hint() -> None:
    found = hints(0.03, {1: (0.0, 0.03), 2: (0.0, 0.04)})
    assert not found.keys() & {"slow-rank", "communication"}


def test_slow_rank_is_named() -> None:
    found = hints(0.3, {1: (0.0, 0.02), 2: (0.0, 0.3)})
    hint = found["slow-rank"]
    assert hint.severity == "critical"
    assert "Rank 1 computes more slowly" in hint.action
    assert "GPU 1" in hint.action
    assert "28 %" in hint.evidence
    assert "communication" not in found


def test_ranks_of_several_hosts_with_one_device_each_are_compared() -> None:
    window = run_of(1)
    for event in started():
        if isinstance(event, RunStarted):
            window.feed(changed(event, RunStarted, settings={**event.settings, "devices": 1, "hosts": "node-a,node-b"}))
    for at in range(11, 40):
        for event in second(float(at), utilization=95.0):
            window.feed(changed(event, Steps, exchange=0.3, compute=0.7))
        window.feed(of_rank(float(at), 1, 0.0, 0.02))
    signals = window.signals()
    assert signals is not None
    assert signals.ranks == 2
    assert "Rank 1 computes more slowly" in evaluate(signals)["slow-rank"].action


def test_slow_rank_that_waits_for_data() -> None:
    found = hints(0.3, {1: (0.28, 0.02)})
    assert "Rank 1 waits for data while the other ranks compute" in found["slow-rank"].action


def test_rank_0_as_the_slow_rank() -> None:
    found = hints(0.01, {1: (0.0, 0.25), 2: (0.0, 0.25)})
    assert "Rank 0 computes more slowly" in found["slow-rank"].action


def test_all_reduce_time_of_the_slowest_rank_is_communication() -> None:
    found = hints(0.25, {1: (0.0, 0.27), 2: (0.0, 0.26)})
    assert "accumulation_steps=2" in found["communication"].action
    assert "slow-rank" not in found


def signals_of(**values: Any) -> Signals:
    """Ranks that wait for gradients 30 % of a step of 0.1 s: 100 MB a step."""
    known: dict[str, Any] = {
        "wait": 0.0,
        "compute": 0.7,
        "rate": 100.0,
        "step_seconds": 0.1,
        "ranks": 2,
        "on_gpu": True,
    }
    exchange: dict[str, Any] = {"exchange": 0.3, "least_exchange": 0.3, "gradient_bytes": 100_000_000}
    return Signals(**{**known, **exchange, "device_name": "NVIDIA A10G", **values})


def test_the_exchange_hint_predicts_its_gain() -> None:
    hint = evaluate(signals_of())["communication"]
    assert hint.changes == {"gradient_compression": "bf16"}
    assert hint.prediction is not None
    # Without half of 30 % of the time; both ranks together.
    assert hint.prediction.high == pytest.approx(2 * 100 / 0.85, abs=0.2)
    assert hint.prediction.low == pytest.approx(2 * 100 / 0.925, abs=0.2)
    rarer = evaluate(signals_of(settings={"gradient_compression": "bf16", "accumulation_steps": 2}))["communication"]
    assert rarer.changes == {"accumulation_steps": 4}
    assert rarer.prediction is not None
    assert rarer.prediction.high == hint.prediction.high


def test_a_batch_that_fits_is_named() -> None:
    roomy = evaluate(signals_of(vram=0.4, settings={"batch_size": 32}))["communication"]
    assert "batch_size=64 or accumulation_steps=2" in roomy.action


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # 100 MB in 30 ms are 3.3 GB/s.
        ({}, "at most 3.3 GB/s; pcie4, assumed should carry 20. Check nvidia-smi topo -m"),
        ({"settings": {"gpu_bandwidth": "pcie3"}}, "pcie3 should carry 10"),
        ({"settings": {"hosts": "a,b", "network_bandwidth": "100GbE"}}, "100GbE should carry 10. Check the network"),
        ({"settings": {"gpu_bandwidth": "4GB/s"}}, ""),
        ({"gradient_bytes": None}, ""),
        ({"on_gpu": False}, ""),
    ],
)
def test_a_slow_link_is_named(values: dict[str, Any], words: str) -> None:
    action = evaluate(signals_of(**values))["communication"].action
    assert words in action if words else "The links carry" not in action


def test_smaller_buckets_where_the_last_one_explains_the_exchange() -> None:
    # 100 MB over 10 GbE take 100 ms, hidden by a backward pass of 200 ms except the last bucket: 26 ms of 160 ms.
    known: dict[str, Any] = {"compute": 0.9, "step_seconds": 0.333, "exchange": 0.1, "least_exchange": 0.1}
    settings = {"hosts": "a,b", "network_bandwidth": "10GbE"}
    hint = evaluate(signals_of(**known, settings=settings))["communication"]
    assert hint.changes["bucket_mib"] in (1, 2, 5)
    assert "bucket_mib=" in hint.action
    assert hint.prediction is not None
    assert hint.prediction.high is not None
    assert 2 * 100 < hint.prediction.high <= 2 * 100 / 0.9
    # With small buckets already, and where all is one long exchange, they gain nothing.
    for other in ({"settings": {**settings, "bucket_mib": 1}}, {"settings": settings, "least_exchange": 0.6}):
        assert "bucket_mib" not in evaluate(signals_of(**{**known, **other}))["communication"].changes


def test_gradients_are_those_of_the_model() -> None:
    window = run_of(2)
    for at in range(11, 40):
        for event in second(float(at)):
            window.feed(changed(event, Steps, exchange=0.2))
    signals = window.signals()
    assert signals is not None
    assert signals.gradient_bytes
    assert signals.gradient_bytes % 4 == 0


def test_one_process_has_no_rank_signals() -> None:
    (steps,) = [event for event in second(20.0) if isinstance(event, Steps)]
    assert rank_shares([steps], []) == {}


def test_prediction_is_the_sum_over_all_ranks() -> None:
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
