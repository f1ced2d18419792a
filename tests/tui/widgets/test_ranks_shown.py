"""Screens of a run with several ranks."""

from __future__ import annotations

import pytest
from helpers.tui import scripted
from msgspec.structs import replace

from gputrain.engine.events import AnyEvent, ModelReady, RunStarted
from gputrain.tui.render import format as fmt
from gputrain.tui.state.metric_values import exchange, mfu
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import summary
from gputrain.tui.widgets.panels.pipeline import bottleneck
from gputrain.tui.widgets.panels.run_panel import key_values


def seen(ranks: int, share: float | None) -> Snapshot:
    """A run of so many ranks that waits for others that share of its time."""
    store = RunStore()
    for event in scripted.start():
        store.apply(of_ranks(event, ranks))
    step = scripted.steps(0, seconds=1.0)
    compute = 0.9 - (share or 0.0)
    store.apply(replace(step, exchange=share, compute=compute, data_wait=0.05, copy=0.0, other=0.05))
    return store.snapshot()


def of_ranks(event: AnyEvent, ranks: int) -> AnyEvent:
    match event:
        case RunStarted():
            return replace(event, settings={**event.settings, "devices": ranks})
        case ModelReady():
            return replace(event, ranks=ranks, flops_per_image=1e9, peak_flops=1e14)
    return event


def test_the_share_of_waiting_for_other_ranks_is_shown() -> None:
    now = seen(4, 0.3)
    assert exchange(now) == pytest.approx(0.3)
    assert bottleneck(now) == ("other", "gradient exchange between ranks")
    assert summary(now).exchange_share == pytest.approx(0.3)
    assert now.shares is not None
    assert now.shares.other == pytest.approx(0.05)


def test_one_process_alone_waits_for_nobody() -> None:
    now = seen(1, None)
    assert (exchange(now), summary(now).exchange_share) == (None, None)
    assert "ranks" not in dict(key_values(now))["batch"]


def test_batch_and_device_are_those_of_all() -> None:
    now = seen(4, 0.1)
    figures = dict(key_values(now))
    assert " × 4 ranks" in figures["batch"]
    assert now.model is not None
    assert figures["device"].startswith(f"4 × {now.model.device_name}")
    assert fmt.devices(replace(now.model, device="cpu", device_name="Some CPU")) == "Some CPU (4 ranks)"


def test_what_a_gpu_makes_of_its_peak_is_of_one_gpu() -> None:
    one, four = mfu(seen(1, None)), mfu(seen(4, 0.1))
    assert one is not None
    assert four == pytest.approx(one / 4)
