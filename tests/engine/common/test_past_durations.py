"""What took how long is known the next time, and nothing fails where it can't be kept."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gputrain.engine import events
from gputrain.engine.common import past_durations
from gputrain.engine.events import Phase, PhaseChanged
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.training.cache.cache_build_child import BuildProgress


def test_stored_durations_are_recalled_newest_first() -> None:
    assert past_durations.recall("scan /data") is None
    past_durations.remember("scan /data", 4.5, 1000)
    past_durations.remember("scan /other", 9.0)
    past_durations.remember("scan /data", 6.0, 1200)
    took = past_durations.recall("scan /data")
    assert took is not None
    assert (took.seconds, took.count) == (6.0, 1200)


def test_short_durations_are_not_stored_and_old_ones_are_dropped() -> None:
    past_durations.remember("quick", 0.9)
    assert past_durations.recall("quick") is None
    for number in range(past_durations._KEPT + 5):
        past_durations.remember(f"thing {number}", 2.0)
    assert past_durations.recall("thing 3") is None
    assert past_durations.recall(f"thing {past_durations._KEPT + 4}") is not None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"x": {"seconds": "long"}}', b"\xff\xfe"])
def test_a_damaged_file_is_no_error(content: bytes) -> None:
    past_durations.remember("thing", 2.0)
    past_durations._path().write_bytes(content)
    assert past_durations.recall("thing") is None
    past_durations.remember("thing", 3.0)
    assert past_durations.recall("thing") is not None


def test_an_unwritable_cache_means_unknown_durations(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (private_homes / "file").write_text("")
    monkeypatch.setenv("GPUTRAIN_CACHE", str(private_homes / "file"))
    past_durations.remember("thing", 2.0)
    assert past_durations.recall("thing") is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    now = [100.0]
    for module in ("processes.event_reporter", "training.cache.cache_build_child"):
        monkeypatch.setattr(f"gputrain.engine.{module}.time", SimpleNamespace(monotonic=lambda: now[0]))

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def test_a_phase_has_the_duration_of_the_last_time(clock: Callable[[float], None]) -> None:
    outbox = multiprocessing.get_context("spawn").Queue()
    told = EventReporter(outbox)

    def begin(phase: Phase, key: str = "") -> float | None:
        told.phase(phase, key=key)
        event = events.decode(outbox.get(timeout=30))
        assert isinstance(event, PhaseChanged)
        return event.eta_seconds

    assert begin(Phase.IMPORTING, "import") is None
    clock(7.0)
    assert begin(Phase.COMPILING, "compile") is None
    clock(2.0)
    # Broken off: that says nothing about the time it takes.
    assert begin(Phase.PAUSED) is None
    assert begin(Phase.IMPORTING, "import") == 7
    assert begin(Phase.COMPILING, "compile") is None
    told.close()


def test_cache_progress_counts_only_new_images(clock: Callable[[float], None]) -> None:
    pace = BuildProgress("training")
    assert pace.words(200, 480) == "training images: 200 of 480"
    clock(2.0)
    assert pace.words(280, 480) == "training images: 280 of 480, 40 a second, 5 s left"
