"""The table of metrics."""

from __future__ import annotations

import re

import pytest
from helpers.tui import drawing, scripted
from helpers.tui.scriptedsource import ScriptedSource
from msgspec.structs import replace

from gputrain.tui.layout.key_bindings import KEYS, MONITOR_KEYS
from gputrain.tui.metrics.metric_lookup import METRICS, level
from gputrain.tui.metrics.panel_descriptions import PANEL_METRICS
from gputrain.tui.metrics.run_descriptions import RUN_METRICS
from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen
from gputrain.tui.screens.dashboard.panel_help import _metrics_by_panel, help_text
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore

PANELS = {metric.panel for metric in METRICS.values()} | {figure.panel for figure in RUN_METRICS}


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
    store.apply(replace(scripted.steps(0, seconds=1.0), exchange=0.1))
    now = store.snapshot()
    for metric in METRICS.values():
        if metric.get is not None:
            assert metric.get(Snapshot()) is None
            assert isinstance(metric.get(now), int | float), metric.key


def test_the_help_explains_every_metric() -> None:
    text = help_text(KEYS, PANELS).plain
    for metric in METRICS.values():
        assert metric.title in text
        assert metric.help in text
        assert metric.source in text
        assert metric.advice in text


def test_the_help_explains_values_without_levels_too() -> None:
    text = help_text(KEYS, PANELS | {"processes", "ranks"}).plain
    for figure in (*RUN_METRICS, *PANEL_METRICS):
        assert f"  {figure.title}  {figure.help}\n      source: {figure.source}\n" in text
        assert figure.advice in text
    shown = help_text(KEYS, PANELS).plain
    assert "MIG instance of GPU 1" not in shown


_LABEL = re.compile(r"[^\W\d_][^\d▕┤:%]*")
_NO_LABELS = ("status", "hints", "log", "machine", "compact")
"""Panels that speak in sentences, or say what others say."""
_UNITS = {"ghz", "mhz", "mb/s┤", "of step", "s", "min", "h", "batches", "mib", "gib", "io/s", "fp"}


@pytest.mark.parametrize("size", [(56, 12), (96, 20), (196, 44)])
def test_the_help_explains_every_label_that_is_drawn(size: tuple[int, int]) -> None:
    view = drawing.view(*(event for event in scripted.whole_run(65)[:-1]))
    screen = DashboardScreen(ScriptedSource())
    explained: dict[str, str] = {}
    for name, figures in _metrics_by_panel({panel.id or "" for panel in screen.panels()}).items():
        explained[name] = " ".join(title for title, *_ in figures).lower()
    seen = 0
    for panel in screen.panels():
        if panel.id in _NO_LABELS:
            continue
        for text, role in (span for line in panel.draw(view, *size) for span in line):
            label = _LABEL.match(text.strip())
            if role not in ("dim", "title") or label is None:
                continue
            drawn = label[0].strip().lower()
            if drawn and drawn not in _UNITS and not drawn.startswith(("nvidia", "no busy processes")):
                words = [word for word in re.split(r"[,\s]+", drawn) if word]
                assert any(word in explained[panel.id or ""] for word in words), (panel.id, text)
                seen += 1
    assert seen > 30


def test_the_help_can_be_shown_in_ascii() -> None:
    assert not help_text(KEYS, PANELS).plain.isascii()
    assert HelpScreen(help_text(KEYS, PANELS), ascii_only=True)._text.plain.isascii()


def test_the_monitor_s_help_explains_what_it_shows_and_no_more() -> None:
    text = help_text(MONITOR_KEYS, {"status", "gpu", "cpu", "ram", "disk"}).plain
    assert "Status" not in text
    for metric in METRICS.values():
        assert (metric.help in text) == (metric.panel in {"gpu", "cpu", "ram", "disk"}), metric.key
    assert all(key.help in text for key in MONITOR_KEYS)
    assert "Stop the run" not in text
