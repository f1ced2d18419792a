"""The monitor screen, with an injected source and with the real sampler."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from helpers.tui import scripted
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource
from msgspec.structs import replace
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen

from gputrain.engine.events import GpuProcess, HardwareSample, Notice, ProcessSample
from gputrain.tui.actions.monitor_source import MonitorSource, watched_process
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.layout.key_bindings import MONITOR_KEYS
from gputrain.tui.layout.monitor_layout import arrange_monitor
from gputrain.tui.screens.dashboard.monitor_screen import MonitorScreen
from gputrain.tui.screens.dashboard.search_line import SearchScreen
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.state.event_source import EventSource
from gputrain.tui.widgets.panel import Panel


def screen(pilot: Pilot[int]) -> MonitorScreen:
    found = pilot.app.screen_stack[0]
    assert isinstance(found, MonitorScreen)
    return found


def front(pilot: Pilot[int]) -> Screen[object]:
    """The screen that gets the keys."""
    return pilot.app.screen


def panel(pilot: Pilot[int], name: str) -> str:
    """What a panel shows; empty if it is not shown."""
    found = screen(pilot).query_one(f"#{name}", Panel)
    return found.text if found.display else ""


@asynccontextmanager
async def opened(
    source: EventSource, size: tuple[int, int] = (120, 35), subject: str = ""
) -> AsyncIterator[Pilot[int]]:
    app = GpuTrainApp(first=lambda: MonitorScreen(source, subject, 1.0, lambda _seconds: None))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: screen(pilot).view.now.hardware is not None)
        await pilot.pause()
        yield pilot


def machine(gpus: int = 1, lost: int | None = None) -> HardwareSample:
    """A sample with two processes on the first GPU."""
    sample = scripted.hardware(7, gpus, lost)
    if not gpus or lost == 0:
        return sample
    processes = (
        GpuProcess(pid=41, user="ada", name="python train.py", memory=9 << 30),
        GpuProcess(pid=42, user="bob", name="blender --render", memory=2 << 30),
    )
    return replace(sample, gpus=(replace(sample.gpus[0], processes=processes), *sample.gpus[1:]))


def source(sample: HardwareSample) -> ScriptedSource:
    made = ScriptedSource()
    made.feed(sample)
    return made


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24), (60, 15)])
@pytest.mark.parametrize("gpus", [0, 1, 8])
async def test_every_size_shows_gpus_cpu_memory_and_processes(size: tuple[int, int], gpus: int) -> None:
    names = ("gpu", "machine", "cpu", "ram", "disk", "processes", "status", "keys")
    expected = ["84 %", "blender --render"] if gpus else ["no NVIDIA driver"]
    async with opened(source(machine(gpus)), size) as pilot:
        shown = "\n".join(panel(pilot, name) for name in names)
        for part in [*expected, "CPU", "RAM", "● monitoring", "?"]:
            assert part in shown, shown


def test_the_rows_always_fill_the_window() -> None:
    for width in range(60, 240, 7):
        for height in range(15, 80):
            for gpus in (0, 1, 2, 4, 8, 16):
                places = arrange_monitor(width, height, gpus)
                assert all(place.height >= 2 for name, place in places.items() if name not in ("status", "keys"))
                assert sum(place.width * place.height for place in places.values()) == width * height
    assert arrange_monitor(59, 40) == {}


async def test_a_lost_gpu_is_named() -> None:
    async with opened(source(machine(2, lost=0)), (120, 35)) as pilot:
        assert "LOST" in panel(pilot, "gpu")
        assert "NVIDIA GeForce RTX 3090" in panel(pilot, "gpu")


async def test_every_key_of_the_line_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done: set[str] = set()
    async with opened(source(machine()), (200, 50)) as pilot:
        assert all(f"{key.shown} {key.label}" in panel(pilot, "keys") for key in MONITOR_KEYS)

        async def press(shown: str, key: str) -> None:
            done.add(shown)
            await pilot.press(key)
            await pilot.pause()

        await press("?", "question_mark")
        assert isinstance(front(pilot), HelpScreen)
        await pilot.press("escape")
        await press("space", "space")
        assert screen(pilot).view.paused
        assert "view paused" in panel(pilot, "status")
        await pilot.press("space")
        assert not screen(pilot).view.paused
        await press("tab", "tab")
        assert pilot.app.focused is screen(pilot).query_one("#gpu")
        await press("f", "f")
        assert panel(pilot, "cpu") == ""
        assert screen(pilot).query_one("#gpu").size.height == 48
        await pilot.press("escape")
        await until(pilot, lambda: panel(pilot, "cpu") != "")
        await press("+", "plus")
        assert screen(pilot).view.zoom == 1
        await press("-", "minus")
        assert screen(pilot).view.zoom == 0
        await press("/", "slash")
        assert isinstance(front(pilot), SearchScreen)
        await pilot.press(*"blender", "enter")
        await until(pilot, lambda: "python" not in panel(pilot, "processes"))
        assert "blender --render" in panel(pilot, "processes")
        assert "only processes with “blender”" in panel(pilot, "status")
        await pilot.press("escape")
        await until(pilot, lambda: "python" in panel(pilot, "processes"))
        await press("m", "m")
        assert screen(pilot).view.by_memory
        await press(">", "greater_than_sign")
        assert "every 2 s" in panel(pilot, "status")
        await press("<", "less_than_sign")
        assert "every 1 s" in panel(pilot, "status")
        await press("e", "e")
        await until(pilot, lambda: any(tmp_path.glob("monitor-view-*.svg")))
        await press("E", "E")
        await until(pilot, lambda: any("monitor-curves-" in one.message for one in pilot.app._notifications))
        assert any(tmp_path.glob("monitor-curves-*.csv"))
        await press("^p", "ctrl+p")
        assert isinstance(front(pilot), CommandPalette)
        await pilot.press("escape")
        await until(pilot, lambda: front(pilot) is screen(pilot))
        await press("q", "q")
    assert pilot.app.return_code == 0
    assert done == {key.shown for key in MONITOR_KEYS}


async def test_what_goes_wrong_and_the_end_of_the_process_stand_in_the_status() -> None:
    made = source(machine())
    made.feed(Notice(level="error", text="the log cannot be written: disk full", source="monitor"))
    async with opened(made, (200, 50), "pid 7 python") as pilot:
        await until(pilot, lambda: "the log cannot be written" in panel(pilot, "status"))
        made.abandoned = True
        await until(pilot, lambda: "pid 7 python has ended" in panel(pilot, "status"))


async def test_the_watched_processes_come_first() -> None:
    own = ProcessSample(pid=77, name="python", cpu=1.5, rss=3 << 30, state="D", threads=9)
    async with opened(source(replace(machine(), processes=(own,))), subject="pid 77 python") as pilot:
        shown = panel(pilot, "processes").splitlines()
        assert "Processes of pid 77 python" in shown[0]
        assert "waits for disk" in shown[1]
        assert "on GPUs" in shown[2]


async def test_others_that_compute_are_named() -> None:
    other = ProcessSample(pid=90, name="\x1b[31mcc1plus [b]-O2[/b]", cpu=0.97, rss=1 << 30, user="eve")
    async with opened(source(replace(machine(0), other_processes=(other,)))) as pilot:
        shown = panel(pilot, "processes").splitlines()
        assert "others by CPU" in shown[1]
        assert "0.97 cores" in shown[2]
        assert "eve" in shown[2]
        assert "cc1plus [b]-O2[/b]" in shown[2]
        assert "\x1b" not in shown[2]


async def test_a_new_interval_holds_from_now_on() -> None:
    live = MonitorSource(3600.0)
    try:
        assert live.read(timeout=30)
        live.set_interval(0.2)
        assert live.read(timeout=30)
    finally:
        live.close()


async def test_this_machine_is_shown() -> None:
    live = MonitorSource(0.2, process=watched_process(os.getpid()))
    async with opened(live, subject=watched_process(os.getpid()).title) as pilot:
        await until(pilot, lambda: str(os.getpid()) in panel(pilot, "processes"))
        sample = screen(pilot).view.now.hardware
        assert sample is not None
        assert sample.ram_total is not None
        assert 0 < sample.ram_total <= psutil.virtual_memory().total
