"""The runs screen on real run directories: what is shown, and what its keys do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import pytest
from fakes.locks import hold_lock
from helpers.tui.piloting import until
from helpers.tui.scripted import whole_run
from textual.widgets import DataTable, Input, Static

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.engine.runs.run_marks import read_marks, write_marks
from gputrain.tui.actions.run_list_refresh import RunListing
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard.dashboard import DashboardScreen
from gputrain.tui.screens.runs.compare_screen import CompareScreen, CurvesPanel
from gputrain.tui.screens.runs.runs_dialogs import ConfirmScreen, PromptScreen
from gputrain.tui.screens.runs.runs_keys import KEYS
from gputrain.tui.screens.runs.runs_screen import RunsScreen
from gputrain.tui.screens.text_screen import TextScreen
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.runs_table import RunsTable

WHEN = 1_700_000_000.0


def make(label: str, step: int, **changes: object) -> RunDir:
    run = run_directory.create(label)
    write_config(run.config, settings.build(changes), {})
    run.events.write_bytes(b"".join(events.encode(event) + b"\n" for event in whole_run(40)))
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


def message_text(app: GpuTrainApp) -> str:
    return str(app.screen_stack[0].query_one("#message", Static).render())


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
        await until(pilot, lambda: "is now named best" in message_text(app))
        await pilot.press("t", *" two,words", "enter")
        await until(pilot, lambda: "failed: a tag has" in message_text(app))


async def test_runs_are_compared_and_deleted_once_chosen(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("c")
        assert "select at least two runs" in message_text(app)
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        text = str(app.screen.query_one(Static).render())
        assert "lr" in text
        assert "bottleneck" in text
        curves = app.screen.query_one(CurvesPanel)
        await until(pilot, lambda: "loss by step" in curves.text)
        # Two curves of dots, each with its letter.
        assert any("\u2801" <= character <= "\u28ff" for character in curves.text)
        assert re.search(r"│.*\ba", curves.text)
        before = curves.text
        await pilot.press("a")
        assert "loss by seconds" in curves.text
        await pilot.press("m")
        assert re.search(r"val_\w+ by seconds", curves.text)
        await pilot.press("M", "a", "a")
        assert curves.text == before
        await pilot.press("escape", "d")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("enter")
        assert len(run_directory.list_runs()) == 3
        await pilot.press("d", "y")
        await until(pilot, lambda: shown(app) == ["first"])
        assert [info.run for info in run_directory.list_runs()] == [three[0]]


async def test_a_refusal_is_told(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        assert "no checkpoint yet" in str(app.screen.query_one(Static).render())
        assert app.screen.query_one(Input).value == "from=last"
        await pilot.press("enter")
        await until(pilot, lambda: "failed:" in message_text(app))
        assert "is finished" in message_text(app)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press(*"from=7", "enter")
        await until(pilot, lambda: "has no complete checkpoint" in message_text(app))
        await pilot.press("l", *"batch_size=x", "enter")
        await until(pilot, lambda: "batch_size must be a whole number" in message_text(app))


async def test_from_a_run_one_comes_back_to_the_list(three: list[RunDir]) -> None:
    app = GpuTrainApp(first=RunsScreen)

    def top() -> str:
        return type(app.screen).__name__

    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        await pilot.press("down")
        # Over the dashboard comes the summary, for the run has ended: q there, or Escape twice.
        for keys in (("q",), ("escape", "escape"), ("escape", "q")):
            await pilot.press("enter")
            await until(pilot, lambda: top() == "SummaryScreen")
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            await until(pilot, lambda: top() == "RunsScreen")
        assert app.screen.query_one(RunsTable).current == three[1]
        (left,) = app.screen_stack
        assert isinstance(left, RunsScreen)


async def test_a_run_that_goes_on_is_left_without_a_question(three: list[RunDir]) -> None:
    lines = three[0].events.read_bytes().splitlines(keepends=True)
    three[0].events.write_bytes(b"".join(lines[:-1]))
    status = three[0].written_status()
    assert status is not None
    three[0].write_status(msgspec.structs.replace(status, state=State.RUNNING))
    child = hold_lock(three[0])
    app = GpuTrainApp(first=RunsScreen)
    try:
        async with app.run_test(size=(140, 40)) as pilot:
            await until(pilot, lambda: len(shown(app)) == 3)
            await pilot.press("end", "enter")
            await until(pilot, lambda: isinstance(app.screen, DashboardScreen))
            await pilot.press("q")
            await until(pilot, lambda: isinstance(app.screen, RunsScreen))
    finally:
        child.communicate()


async def test_the_table_stays_where_it_was_scrolled_to(three: list[RunDir]) -> None:
    for number in range(40):
        make(f"more{number}", number)
    app = GpuTrainApp(first=RunsScreen)
    app.animation_level = "none"
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 43)
        table, screen = app.screen.query_one(RunsTable), app.screen
        assert isinstance(screen, RunsScreen)
        await until(pilot, lambda: table.show_horizontal_scrollbar)
        await pilot.pause()
        await pilot.press("end")
        await until(pilot, lambda: table.scroll_y == table.max_scroll_y > 0)
        assert table.current == three[0]
        table.scroll_to(x=10, y=5, animate=False)
        await until(pilot, lambda: table.scroll_offset == (10, 5))
        line = table.get_row_at(42)

        async def look() -> None:
            screen.post_message(screen.Listed(screen._listing.rows()))
            await pilot.pause()
            await pilot.pause()

        await look()
        assert table.scroll_offset == (10, 5)
        assert table.get_row_at(42) == line
        write_marks(three[0], note="changed in place")
        await look()
        assert "changed in place" in str(table.get_row_at(42)[-1])
        assert table.scroll_offset == (10, 5)
        # One that comes and one that goes leave the cursor on its run.
        make("newest", 1)
        shutil.rmtree(three[1].directory)
        await look()
        assert table.current == three[0]
        assert shown(app) == [info.run.id.rpartition("-")[2] for info in run_directory.list_runs()]
        assert "newest" in shown(app)
        assert table.scroll_offset.x == 10


async def test_states_are_filtered_curves_exported_and_all_keys_seen(
    three: list[RunDir], monkeypatch: pytest.MonkeyPatch, private_homes: Path
) -> None:
    monkeypatch.chdir(private_homes)
    status = three[1].written_status()
    assert status is not None
    three[1].write_status(msgspec.structs.replace(status, state=State.FAILED, reason="it broke " + "badly " * 30))
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(shown(app)) == 3)
        keys = app.screen.query_one(KeyBar).text
        assert all(f"{key.shown} " in f"{keys} " for key in KEYS)
        await pilot.press("f")
        assert shown(app) == ["third", "first"]
        await pilot.press("f")
        assert shown(app) == ["second"]
        about = str(app.screen.query_one("#about", Static).render())
        assert about.count("badly") == 30
        await pilot.press("f")
        assert len(shown(app)) == 3
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        name = app.screen.query_one(Input).value
        await pilot.press("enter")
        await until(pilot, lambda: "written:" in message_text(app))
        assert (private_homes / name).read_text().startswith("curve,")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        shown_help = str(app.screen.query_one(Static).render())
        assert all(key.help.split(";")[0] in shown_help for key in KEYS)


def test_what_is_over_is_not_read_again(three: list[RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    listing = RunListing()
    first = listing.rows()
    read: list[RunDir] = []
    real = RunDir.status

    def status(run: RunDir) -> Status | None:
        read.append(run)
        return real(run)

    monkeypatch.setattr(RunDir, "status", status)
    assert all(a is b for a, b in zip(listing.rows(), first, strict=True))
    assert read == []
    write_marks(three[1], note="new")
    assert [row.marks.note for row in listing.rows()] == ["", "new", ""]
    assert read == [three[1]]
    written = three[2].written_status()
    assert written is not None
    # As a killed supervisor leaves it: what it says is never taken for the last word.
    three[2].write_status(msgspec.structs.replace(written, state=State.RUNNING))
    for _ in range(2):
        assert next(row.info.status.state for row in listing.rows() if row.info.status) is State.DIED
    assert read[1:] == [three[2], three[2]]
