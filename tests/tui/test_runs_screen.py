"""The runs screen on real run directories: what is shown, and what its keys do."""

from __future__ import annotations

from pathlib import Path

import pytest
from piloting import until
from scripted import whole_run
from textual.widgets import DataTable, Static

from gputrain.engine import events, runs, settings
from gputrain.engine.configfile import write_config
from gputrain.engine.marks import read_marks
from gputrain.engine.runs import RunDir, State, Status
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard import DashboardScreen
from gputrain.tui.screens.runs import RunsScreen
from gputrain.tui.screens.runs_dialogs import ConfirmScreen
from gputrain.tui.screens.text import TextScreen

WHEN = 1_700_000_000.0


def make(label: str, step: int, **changes: object) -> RunDir:
    run = runs.create(label)
    write_config(run.config, settings.build(changes), {})
    run.events.write_bytes(b"".join(events.encode(event) + b"\n" for event in whole_run(10)))
    status = Status(
        state=State.FINISHED, started=WHEN, heartbeat=WHEN, ended=WHEN, pid=1, pid_started=0, boot_id="", step=step
    )
    run.write_status(status)
    return run


@pytest.fixture
def three(private_homes: Path) -> list[RunDir]:
    return [make("first", 10, lr=0.1), make("second", 30, lr=0.2), make("third", 20, lr=0.3)]


def shown(app: GpuTrainApp) -> list[str]:
    """The listed runs' labels."""
    table = app.screen_stack[0].query_one(DataTable)
    return [str(table.get_row_at(number)[1]).rpartition("-")[2] for number in range(table.row_count)]


def said(app: GpuTrainApp) -> str:
    return str(app.screen_stack[0].query_one("#said", Static).render())


async def test_it_lists_sorts_and_finds(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: shown(app) == ["third", "second", "first"])
        for _ in range(4):
            await pilot.press("o")
        assert shown(app) == ["second", "third", "first"]
        assert "by steps" in str(app.screen.query_one("#head", Static).render())
        await pilot.press("slash", *"first", "enter")
        await until(pilot, lambda: shown(app) == ["first"])


async def test_marks_are_made_and_shown(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("t", *"keep", "enter")
        await until(pilot, lambda: read_marks(three[2]).tags == ("keep",))
        await pilot.press("n", *"best", "enter")
        await until(pilot, lambda: read_marks(three[2]).name == "best")
        await until(pilot, lambda: "is called best" in said(app))
        await pilot.press("t", *" two,words", "enter")
        await until(pilot, lambda: "not done: a tag has" in said(app))


async def test_runs_are_compared_and_deleted_once_chosen(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("c")
        assert "choose two runs" in said(app)
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        text = str(app.screen.query_one(Static).render())
        assert "lr" in text
        assert "held back by" in text
        await pilot.press("escape", "d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter")
        assert len(runs.list_runs()) == 3
        await pilot.press("d", "y")
        await until(pilot, lambda: shown(app) == ["first"])
        assert [info.run for info in runs.list_runs()] == [three[0]]


async def test_a_run_is_watched_and_a_refusal_is_told(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("r", "enter")
        await until(pilot, lambda: "not done:" in said(app))
        assert "is finished" in said(app)
        await pilot.press("l", *"batch_size=x", "enter")
        await until(pilot, lambda: "batch_size must be a whole number" in said(app))
        await pilot.press("enter")
        # Over it comes the summary: the run has ended.
        await until(pilot, lambda: any(isinstance(screen, DashboardScreen) for screen in app.screen_stack))
