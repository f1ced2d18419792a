"""Pictures of screens with scripted runs and machines, for docs/record_pictures.py."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from gputrain.engine.events import GpuProcess, ProcessSample
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard.monitor_screen import MonitorScreen
from gputrain.tui.screens.dashboard.panel_screen import PanelScreen
from gputrain.tui.screens.launcher.launcher_screen import LauncherScreen
from helpers.tui import scripted
from helpers.tui.launching import BENCH, Opened, settled
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource

SECONDS = 130


def _run(gpus: int) -> ScriptedSource:
    source = ScriptedSource()
    source.feed_training(SECONDS, gpus)
    return source


def _monitored(gpus: int, lost: int | None = None) -> ScriptedSource:
    """A machine without a run, somebody's programs on its first GPU."""
    source = ScriptedSource()
    processes = (
        GpuProcess(pid=4711, user="ada", name="python train.py --epochs 90", memory=9 * scripted.GIB),
        GpuProcess(pid=4802, user="bob", name="blender --background scene.blend", memory=2 * scripted.GIB),
    )
    others = (
        ProcessSample(pid=4711, user="ada", name="python train.py --epochs 90", cpu=9.31, rss=21 * scripted.GIB),
        ProcessSample(pid=4802, user="bob", name="blender --background scene.blend", cpu=4.02, rss=6 * scripted.GIB),
        ProcessSample(pid=901, user="root", name="[kswapd0]", cpu=0.08, rss=0),
    )
    for second in range(SECONDS):
        sample = scripted.hardware(second, gpus, lost)
        if gpus:
            sample = replace(sample, gpus=(replace(sample.gpus[0], processes=processes), *sample.gpus[1:]))
        source.feed(replace(sample, run_cpu=None, foreign_cpu=14.2, other_processes=others))
    return source


def _dashboard(source: Callable[[], ScriptedSource]) -> Callable[[], GpuTrainApp]:
    return lambda: GpuTrainApp(source())


def _monitor(source: Callable[[], ScriptedSource]) -> Callable[[], GpuTrainApp]:
    return lambda: GpuTrainApp(first=lambda: MonitorScreen(source(), "", 1.0, lambda _seconds: None))


def _launcher() -> GpuTrainApp:
    return Opened(LauncherScreen(lambda: BENCH, find_live_runs=list))


PICTURES: dict[str, tuple[tuple[int, int], Callable[[], GpuTrainApp]]] = {
    "launcher": ((120, 35), _launcher),
    "dashboard-200x50": ((200, 50), _dashboard(lambda: _run(1))),
    "dashboard-120x35": ((120, 35), _dashboard(lambda: _run(1))),
    "dashboard-80x24": ((80, 24), _dashboard(lambda: _run(1))),
    "dashboard-8-gpus": ((120, 35), _dashboard(lambda: _run(8))),
    "dashboard-8-gpus-80x24": ((80, 24), _dashboard(lambda: _run(8))),
    "dashboard-no-gpu": ((120, 35), _dashboard(lambda: _run(0))),
    "monitor-8-gpus": ((200, 50), _monitor(lambda: _monitored(8))),
    "monitor-lost-gpu": ((120, 35), _monitor(lambda: _monitored(8, lost=3))),
}


async def drawn(name: str) -> str:
    """The picture called `name`, as SVG."""
    size, make = PICTURES[name]
    return await picture(make(), size)


async def picture(app: GpuTrainApp, size: tuple[int, int], full: str = "") -> str:
    """What `app` shows at `size` once it has read all that there is, or planned what is chosen.

    `full`: the panel that fills the window, as after key f.
    """
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        if isinstance(screen, LauncherScreen):
            await settled(pilot)
        else:
            assert isinstance(screen, PanelScreen)
            await until(pilot, lambda: screen.view.caught_up)
            if full:
                screen.query_one(f"#{full}").focus()
                await pilot.press("f")
            await pilot.pause()
        return app.export_screenshot()


def write(folder: Path) -> None:
    """Write all of them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        # Nobody's profiles, recipes and calibrations.
        os.environ |= {f"GPUTRAIN_{kind}": f"{home}/{kind.lower()}" for kind in ("HOME", "CACHE", "CONFIG")}
        for name in PICTURES:
            (folder / f"{name}.svg").write_text(asyncio.run(drawn(name)) + "\n")
