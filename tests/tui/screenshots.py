"""Pictures of the screens, by scripted runs and machines: ``python tests/tui/screenshots.py docs/screens``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import scripted
from msgspec.structs import replace
from scriptedsource import ScriptedSource

from gputrain.engine.events import AnyEvent, GpuProcess, HintsChanged, ProcessSample
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.board import BoardScreen
from gputrain.tui.screens.monitor import MonitorScreen

SECONDS = 130


def _run(gpus: int, *last: AnyEvent) -> ScriptedSource:
    source = ScriptedSource()
    source.feed_training(SECONDS, gpus)
    source.feed(*last)
    return source


def _half_a_core() -> ScriptedSource:
    """A run in a container that may use half a core of 64 and 4 GiB."""
    sample = replace(
        scripted.hardware(SECONDS),
        cpu_percent=99.0,
        per_core=(),
        usable_cores=0.5,
        host_cores=64,
        run_cpu=0.5,
        throttled_share=0.87,
        ram_total=4 * scripted.GIB,
        ram_available=scripted.GIB,
        run_rss=2 * scripted.GIB,
    )
    starved = replace(scripted.loader(), run_delay=0.62, cpu_ratio=0.33)
    return _run(1, sample, HintsChanged(hints=scripted.advised(1, sample, starved)))


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
        source.feed(replace(sample, run_cpu=None, foreign_cpu=14.2, others=others))
    return source


def _dashboard(source: Callable[[], ScriptedSource]) -> Callable[[], GpuTrainApp]:
    return lambda: GpuTrainApp(source())


def _monitor(source: Callable[[], ScriptedSource]) -> Callable[[], GpuTrainApp]:
    return lambda: GpuTrainApp(first=lambda: MonitorScreen(source(), "", 1.0, lambda _seconds: None))


PICTURES: dict[str, tuple[tuple[int, int], Callable[[], GpuTrainApp]]] = {
    "dashboard-200x50": ((200, 50), _dashboard(lambda: _run(1))),
    "dashboard-120x35": ((120, 35), _dashboard(lambda: _run(1))),
    "dashboard-80x24": ((80, 24), _dashboard(lambda: _run(1))),
    "dashboard-8-gpus": ((120, 35), _dashboard(lambda: _run(8))),
    "dashboard-8-gpus-80x24": ((80, 24), _dashboard(lambda: _run(8))),
    "dashboard-no-gpu": ((120, 35), _dashboard(lambda: _run(0))),
    "dashboard-lost-gpu": ((120, 35), _dashboard(lambda: _run(2, scripted.hardware(SECONDS, 2, lost=1)))),
    "dashboard-half-a-core": ((120, 35), _dashboard(_half_a_core)),
    "monitor-8-gpus": ((200, 50), _monitor(lambda: _monitored(8))),
    "monitor-lost-gpu": ((120, 35), _monitor(lambda: _monitored(8, lost=3))),
}


async def drawn(name: str) -> str:
    """The picture called `name`, as SVG."""
    size, make = PICTURES[name]
    app = make()
    async with app.run_test(size=size) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, BoardScreen)
        while not screen.view.caught_up:
            await pilot.pause(0.02)
        await pilot.pause()
        return app.export_screenshot()


def main(folder: Path) -> None:
    """Write all of them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (folder / f"{name}.svg").write_text(asyncio.run(drawn(name)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
