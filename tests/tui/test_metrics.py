"""The table of metrics."""

from __future__ import annotations

import pytest
import scripted

from gputrain.tui.figures import FIGURES
from gputrain.tui.keys import KEYS, MONITOR_KEYS
from gputrain.tui.metrics import METRICS, level
from gputrain.tui.screens.help import help_text
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.store import RunStore

PANELS = {metric.panel for metric in METRICS.values()}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("gpu", 97, "good"),
        ("gpu", 80, "plain"),
        ("gpu", 69, "warn"),
        ("cpu", 70, "good"),
        ("cpu", 90, "plain"),
        ("cpu", 96, "warn"),
        ("ram", 50, "good"),
        ("ram", 85, "warn"),
        ("ram", 91, "bad"),
        ("vram", 98, "bad"),
        ("data_wait", 0.04, "plain"),
        ("data_wait", 0.11, "warn"),
        ("data_wait", 0.21, "bad"),
        ("gpu", None, "plain"),
    ],
)
def test_levels_follow_the_targets(key: str, value: float | None, expected: str) -> None:
    assert level(key, value) == expected


def test_the_targets_are_the_known_ranges() -> None:
    assert [METRICS[key].good for key in ("gpu", "cpu", "ram")] == [(95, 100), (60, 80), (40, 60)]


def test_every_metric_can_be_read_of_a_run_and_of_nothing() -> None:
    store = RunStore()
    store.apply_all(scripted.whole_run(3))
    now = store.snapshot()
    for metric in METRICS.values():
        if metric.get is not None:
            assert metric.get(Snapshot()) is None
            assert isinstance(metric.get(now), int | float), metric.key


def test_the_help_explains_every_metric() -> None:
    text = help_text(KEYS, PANELS, ascii_only=False).plain
    for metric in METRICS.values():
        assert metric.title in text
        assert metric.help in text
        assert metric.source in text
        assert metric.advice in text


def test_the_help_explains_the_smaller_figures_too() -> None:
    text = help_text(KEYS, PANELS | {"processes"}, ascii_only=False).plain
    for figure in FIGURES:
        assert f"  {figure.title}  {figure.help}\n      from: {figure.source}\n" in text
        assert figure.advice in text
    shown = help_text(KEYS, PANELS, ascii_only=False).plain
    assert "MIG instance of GPU 1" not in shown


def test_the_help_can_be_shown_in_ascii() -> None:
    assert help_text(KEYS, PANELS, ascii_only=True).plain.isascii()


def test_the_monitor_s_help_explains_what_it_shows_and_no_more() -> None:
    text = help_text(MONITOR_KEYS, {"gpu", "cpu", "ram", "disk"}, ascii_only=False).plain
    for metric in METRICS.values():
        assert (metric.help in text) == (metric.panel in {"gpu", "cpu", "ram", "disk"}), metric.key
    assert all(key.help in text for key in MONITOR_KEYS)
    assert "Stop the run" not in text
