"""Launchers with injected machines, run lists and starts, and what they show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Button, Static

import gputrain.tui.app
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events.speed_forecast import SpeedForecast
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.runs.run_directory import RunDir, RunInfo
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.launcher.launcher import LauncherScreen
from gputrain.tui.widgets.menu import Menu
from gputrain.tui.widgets.plan_view import PlanView, plan_lines
from helpers.tui.piloting import until

CARD = GpuInfo(index=0, uuid="GPU-1", name="NVIDIA GeForce RTX 3090", memory=24 * GIB, capability=(8, 6))
BENCH = Machine(
    hostname="bench",
    usable_cores=16.0,
    host_cores=16,
    cpu_model="Some CPU",
    memory_total=64 * GIB,
    memory_limit=62 * GIB,
    memory_available=50 * GIB,
    shm_total=31 * GIB,
    gpus=(CARD,),
    gpu_error="",
    driver="580.1",
)
SERVER = msgspec.structs.replace(BENCH, gpus=(), gpu_error="no NVIDIA driver")


class Starts:
    """Stands in for `launch`: keeps what it was asked to start."""

    def __init__(self, folder: Path) -> None:
        directory = folder / "state" / "runs" / "a-run"
        directory.mkdir(parents=True)
        self.run = RunDir(directory)
        self.fails: BaseException | None = None
        self.asked: list[tuple[RunConfig, Mapping[str, str] | None, Sequence[str]]] = []
        self.forecast: SpeedForecast | None = None

    def __call__(
        self,
        config: RunConfig,
        origins: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
        forecast: SpeedForecast | None = None,
    ) -> RunDir:
        self.forecast = forecast
        self.asked.append((config, origins, warnings))
        if self.fails is not None:
            raise self.fails
        return self.run


class Opened(GpuTrainApp):
    """The application with a launcher of the test's making."""

    CSS_PATH = str(Path(gputrain.tui.app.__file__).with_name("app.tcss"))

    def __init__(self, launcher: LauncherScreen) -> None:
        super().__init__()
        self.launcher = launcher

    def get_default_screen(self) -> Screen[None]:
        return self.launcher


@asynccontextmanager
async def opened(
    starts: Starts,
    machine: Machine = BENCH,
    size: tuple[int, int] = (120, 35),
    going: Sequence[RunInfo] = (),
) -> AsyncIterator[Pilot[int]]:
    app = Opened(LauncherScreen(lambda: machine, starts, lambda: list(going)))
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[int]) -> None:
    """Wait for the plan of what is chosen now."""
    await until(
        pilot,
        lambda: (
            "inspecting" not in verdict_text(pilot)
            and "planning" not in verdict_text(pilot)
            and bool(verdict_text(pilot))
        ),
    )
    await pilot.pause()


async def press(pilot: Pilot[int], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()
    if isinstance(pilot.app.screen, LauncherScreen):
        await settled(pilot)


def launcher(pilot: Pilot[int]) -> LauncherScreen:
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, LauncherScreen))


def verdict_text(pilot: Pilot[int]) -> str:
    """The line beside the start button."""
    return str(launcher(pilot).query_one("#verdict", Static).render())


def plan_text(pilot: Pilot[int]) -> str:
    return launcher(pilot).query_one("#plan", PlanView).text


def row(pilot: Pilot[int], setting: str) -> str:
    """The plan's row of a setting, its blanks made one; empty if there is none."""
    plan = launcher(pilot)._plan
    assert plan is not None
    # At this width settings and figures stand in one column, and no name is cut.
    lines = (" ".join("".join(text for text, _ in spans).split()) for spans in plan_lines(plan, 112))
    return next((text for text in lines if text.startswith(f"{setting} ")), "")


def menu(pilot: Pilot[int], name: str) -> Menu:
    return launcher(pilot).query_one(f"#{name}", Menu)


def shown(pilot: Pilot[int]) -> str:
    """All that is on the screen."""
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


def start_button(pilot: Pilot[int]) -> Button:
    return launcher(pilot).query_one("#start", Button)
