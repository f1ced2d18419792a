"""Hints about a script of the user's own that only a look at its loader gives, whatever the loop waits for."""

from __future__ import annotations

from gputrain.engine.diagnosis.tree_nodes import Cause, Fix, Question
from gputrain.engine.diagnosis.windows.signals import Signals


def _started_twice(s: Signals) -> float:
    return float(bool(s.setting("loader_started_twice", "")))


def _start_once(s: Signals) -> Fix:
    who = str(s.setting("loader_started_twice", ""))
    if who == "tqdm.auto":
        return Fix(
            "tqdm.auto starts the loader once for itself: its workers make samples that nobody reads, and the order is "
            "another one than without the bar. Use: from tqdm import tqdm."
        )
    return Fix(f"Call iter() once for each pass: {who} starts the loader and reads nothing before the next start.")


def _wasted(s: Signals) -> float | None:
    return s.wait


TWICE = Cause(
    "loader-started-twice",
    "The loader is started twice for each pass",
    (Question(_started_twice, "an iterator was {}left without a batch while another was read", least=1, unit="yes"),),
    _start_once,
    "the number of workers stays the same without the bar",
    _wasted,
    (Question(lambda s: s.workers, "data workers: {}", unit="count"),),
    severity="warning",
)
