"""The verdict on a trace from the program's Advisor, with its hysteresis over two windows.

Window and warm-up are shorter than the program's; nothing else differs.
"""

from __future__ import annotations

import functools
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unittest import mock

import psutil
from diagnosis_setup import Setup

from gputrain.engine.diagnosis import advisor
from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.diagnosis.windows.mean_of_known import mean
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import AnyEvent, HardwareSample, Hint, Phase, PhaseChanged, Steps

_BIN = 0.5
"""Seconds over which a rate is taken to tell its noise."""
QUIET_CORES = 0.3
"""Cores that other programs may use, before and during a trace."""


@dataclass(frozen=True)
class Rate:
    """Images per second of wall time after the start, stalls included, and the standard error of that."""

    value: float
    error: float


@dataclass(frozen=True)
class Verdict:
    """The program's verdict on a trace."""

    signals: Signals | None
    """The newest."""
    hints: tuple[Hint, ...]
    """What the dashboard would show at the end of the trace."""
    raised: frozenset[str]
    """All that it would have shown on the way."""


def judge(events: Iterable[AnyEvent], setup: Setup) -> Verdict:
    """The verdict on a trace."""
    window = functools.partial(EventWindow, seconds=setup.window, warm_up=setup.warm_up, least=setup.least)
    with mock.patch.object(advisor, "EventWindow", window), mock.patch.object(advisor, "EVALUATE_EVERY", setup.window):
        adviser, raised = Advisor(), set[str]()
        for event in events:
            if isinstance(event, PhaseChanged) and event.phase in (Phase.STOPPING, Phase.ENDED):
                break  # what follows is the end of the trace, which no dashboard would advise on
            adviser.feed(event)
            raised |= {hint.id for hint in adviser.hints()}
        return Verdict(adviser.signals, adviser.hints(), frozenset(raised))


def rate_of(events: Iterable[AnyEvent], setup: Setup) -> Rate | None:
    """The rate of a trace; None where it is too short. The trainer's epoch that fills a cache does not count."""
    steps = [event for event in events if isinstance(event, Steps)]
    filling = not setup.step and setup.settings.get("cache", "none") != "none"
    kept = [one for one in steps if one.mono - steps[0].mono >= setup.warm_up and one.epoch >= filling]
    if len(kept) < 2:
        return None
    bins = _bins(kept)
    error = statistics.stdev(bins) / len(bins) ** 0.5 if len(bins) > 1 else 0.0
    return Rate(_between(kept[0], kept[-1]), error)


def _bins(steps: Sequence[Steps]) -> list[float]:
    rates, first = [], steps[0]
    for one in steps[1:]:
        if one.mono - first.mono >= _BIN:
            rates.append(_between(first, one))
            first = one
    return rates


def _between(first: Steps, last: Steps) -> float:
    return (last.images - first.images) / max(1e-9, last.mono - first.mono)


def wait_for_quiet(seconds: float) -> float:
    """Wait up to `seconds` until other programs use few cores; returns how many they use."""
    until = time.monotonic() + seconds
    while True:
        others = psutil.cpu_percent(0.5) / 100 * (os.cpu_count() or 1)
        if others < QUIET_CORES or time.monotonic() > until:
            return others


def foreign_cores(events: Iterable[AnyEvent]) -> float:
    """Cores that programs outside the run used during a trace."""
    samples = [event for event in events if isinstance(event, HardwareSample)]
    return mean((one.foreign_cpu, one.interval) for one in samples) or 0.0


def folk(s: Signals) -> str:
    """Three common rules of thumb, as in the seeds of this project."""
    if s.ram_used is not None and s.ram_used > 0.90:
        return "ram-pressure"
    if s.cpu is not None and s.cpu > 95:
        return "oversubscribed"
    if s.utilization is not None and s.utilization < 70:
        return "few-workers"
    return "compute-bound"


def rival(s: Signals) -> str:
    """Shares of a step, as the TensorFlow profiler's input-pipeline analysis: input-bound, or not, and by what."""
    if s.wait >= 0.20 or (s.wait >= 0.05 and s.wait >= max(s.gap, s.exposed_copy or 0.0)):
        # It splits the host's time into reading files and preparing, and advises workers for the latter.
        return "disk" if (s.read_share or 0.0) >= 0.5 else "few-workers"
    if (s.exposed_copy or 0.0) >= 0.10:
        return "host-copy"
    return "launch-bound" if s.gap >= 0.10 else "compute-bound"
