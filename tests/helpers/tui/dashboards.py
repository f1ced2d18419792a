"""Dashboards on scripted runs, and what they show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from gputrain.engine.events import Hint
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard.dashboard import DashboardScreen
from gputrain.tui.screens.dashboard.summary import SummaryScreen
from gputrain.tui.state.event_source import RunSource
from gputrain.tui.widgets.panel import Panel
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource

LATER = Hint(
    id="small-work",
    severity="warning",
    title="The GPU has too little work at a time",
    evidence="GPU utilization 40 %",
    action="Use bigger batches.",
    changes={"batch_size": 512},
)
"""With a setting that a running training cannot change."""


def dashboard(pilot: Pilot[int]) -> DashboardScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, DashboardScreen)
    return screen


def panel(pilot: Pilot[int], name: str) -> str:
    """What a panel shows; empty if it is not shown."""
    found = dashboard(pilot).query_one(f"#{name}", Panel)
    return found.text if found.display else ""


def summary_text(pilot: Pilot[int]) -> str:
    """What the summary shows; empty while there is none."""
    if not isinstance(pilot.app.screen, SummaryScreen):
        return ""
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


@asynccontextmanager
async def opened(
    source: RunSource, size: tuple[int, int] = (120, 35), low_bandwidth: bool = False
) -> AsyncIterator[Pilot[int]]:
    app = GpuTrainApp(source, low_bandwidth=low_bandwidth)
    app._frame_seconds = 0.1  # tests need not wait for eyes
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: dashboard(pilot).view.caught_up)
        await pilot.pause()
        yield pilot


def trained(seconds: int = 25, gpus: int = 1) -> ScriptedSource:
    source = ScriptedSource()
    source.feed_training(seconds, gpus)
    return source
