"""The launcher, driven by its keys: what it offers, plans, refuses and starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static

from gputrain.engine import runs
from gputrain.engine.config import RunConfig
from gputrain.engine.events import Outcome, RunEnded, RunStarted
from gputrain.engine.files import config_home
from gputrain.engine.machine import GpuInfo, Machine
from gputrain.engine.record import RecordWriter
from gputrain.engine.runs import RunDir, RunInfo, State, Status
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.attach import AttachScreen
from gputrain.tui.screens.dashboard import DashboardScreen
from gputrain.tui.screens.launcher import LauncherScreen
from gputrain.tui.screens.override import OverrideScreen

GIB = 1 << 30


def machine(gpu: str = "") -> Machine:
    memory = (23 if gpu == "NVIDIA A10G" else 24) * GIB
    gpus = (GpuInfo(index=0, uuid="GPU-0", name=gpu, memory=memory, capability=(8, 6), mig=False),) if gpu else ()
    return Machine(
        hostname="here",
        usable_cores=16.0,
        host_cores=16,
        cpu_model="a CPU",
        memory_total=64 * GIB,
        memory_limit=64 * GIB,
        memory_available=60 * GIB,
        shm_total=32 * GIB,
        gpus=gpus,
        gpu_error="" if gpus else "no NVIDIA driver",
        driver="",
    )


class Bench(App[int]):
    """An application with nothing but the launcher; starting fails with what would have been started."""

    CSS_PATH = str(Path(__file__).parents[2] / "tui" / "app.tcss")

    def __init__(self, gpu: str = "", live: Sequence[RunInfo] = ()) -> None:
        super().__init__()
        self.started: list[RunConfig] = []
        self._gpu, self._live = gpu, list(live)

    def get_default_screen(self) -> Screen[None]:
        return LauncherScreen(lambda: machine(self._gpu), self.launch, lambda: self._live)

    def launch(self, config: RunConfig, origins: dict[str, str], warnings: Sequence[str]) -> RunDir:
        self.started.append(config)
        raise RuntimeError("the [bold]supervisor[/bold] did not start")


async def settle(pilot: Pilot[int]) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def launcher(pilot: Pilot[int]) -> LauncherScreen:
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, LauncherScreen))


def text(pilot: Pilot[int], selector: str) -> str:
    return str(launcher(pilot).query_one(selector, Static).render())


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24)])
async def test_the_detected_profile_is_on_top_and_marked(size: tuple[int, int]) -> None:
    async with Bench("NVIDIA GeForce RTX 3090").run_test(size=size) as pilot:
        await settle(pilot)
        first = launcher(pilot).query_one("#profiles", OptionList).get_option_at_index(0)
        assert str(first.prompt).startswith("● rtx-3090-24gb")
        plan = launcher(pilot).plan
        assert plan is not None
        assert (plan.config.profile, plan.config.recipe) == ("rtx-3090-24gb", "demo")
        assert "batch_size" in text(pilot, "#plan-text")


async def test_without_a_gpu_the_cpu_is_first() -> None:
    async with Bench().run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        plan = launcher(pilot).plan
        assert plan is not None
        assert plan.config.profile == "cpu"


async def test_a_preset_and_a_recipe_change_the_plan() -> None:
    async with Bench("NVIDIA A10G").run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        screen = launcher(pilot)
        before = screen.plan
        await pilot.press("p")
        await pilot.pause()
        assert screen.plan is not None
        assert before is not None
        assert screen.plan.config.preset != before.config.preset
        screen.query_one("#recipes", OptionList).highlighted = 1
        await pilot.pause()
        assert screen.plan.config.recipe == "imagenet-resnet50"


async def test_enter_starts_the_plan_and_a_failure_is_shown_as_it_is() -> None:
    app = Bench()
    async with app.run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert [config.recipe for config in app.started] == ["demo"]
        assert "not started: the [bold]supervisor[/bold] did not start" in text(pilot, "#said")


async def test_a_started_run_is_shown(private_homes: Path) -> None:
    run = runs.create("demo")
    writer = RecordWriter(run.events)
    writer.append(RunStarted(run_id=run.id, settings={"epochs": 3}))
    writer.append(RunEnded(outcome=Outcome.FINISHED, reason="all steps are done"))
    writer.close()
    app = GpuTrainApp()
    async with app.run_test(size=(120, 35)) as pilot:
        app.push_screen(LauncherScreen(machine, lambda config, origins, warnings: run, list))
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert any(isinstance(screen, DashboardScreen) for screen in app.screen_stack)


async def test_the_first_screen_of_the_application_opens_a_run(private_homes: Path) -> None:
    run = runs.create("demo")
    RecordWriter(run.events).close()
    app = GpuTrainApp()
    async with app.run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        launcher(pilot)._open(run)
        await settle(pilot)
        assert isinstance(app.screen, DashboardScreen)


async def test_a_setting_is_checked_before_it_is_taken() -> None:
    app = Bench()
    async with app.run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        await pilot.press("e")
        assert isinstance(app.screen, OverrideScreen)
        app.screen.query_one(Input).value = "epochs=0"
        await pilot.press("enter")
        assert "epochs must be ≥ 1, got 0" in str(app.screen.query_one("#about", Static).render())
        app.screen.query_one(Input).value = "epochs=7"
        await pilot.press("enter")
        await pilot.pause()
        plan = launcher(pilot).plan
        assert plan is not None
        assert plan.config.epochs == 7
        assert plan.origins["epochs"] == "you"
        await pilot.press("r")
        await pilot.pause()
        plan = launcher(pilot).plan
        assert plan is not None
        assert plan.config.epochs != 7


async def test_what_cannot_run_does_not_start() -> None:
    app = Bench()
    async with app.run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        launcher(pilot).query_one("#data", Input).value = "/nowhere/at/all"
        await pilot.pause()
        assert "cannot run" in text(pilot, "#plan-text")
        await pilot.press("enter")
        await settle(pilot)
        assert app.started == []
        assert "cannot start" in text(pilot, "#said")


async def test_live_runs_are_offered_first(private_homes: Path) -> None:
    status = Status(
        state=State.RUNNING, started=1.0, heartbeat=2.0, pid=1, pid_started=0.0, boot_id="", epoch=2, epochs=9, step=40
    )
    app = Bench(live=[RunInfo(RunDir(private_homes / "20260101-000000-demo"), status)])
    async with app.run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        assert isinstance(app.screen, AttachScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, LauncherScreen)


async def test_a_hostile_title_is_shown_harmlessly() -> None:
    folder = config_home() / "recipes"
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text('title: "[red]\\e[31mboo[/red]"\nsettings:\n  epochs: 3\n')
    async with Bench().run_test(size=(120, 35)) as pilot:
        await settle(pilot)
        menu = launcher(pilot).query_one("#recipes", OptionList)
        prompts = [str(menu.get_option_at_index(i).prompt) for i in range(menu.option_count)]
        assert all("\x1b" not in prompt for prompt in prompts)
