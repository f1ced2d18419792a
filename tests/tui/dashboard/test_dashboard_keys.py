"""The keys and clicks of the dashboard: one test per key, and one that every key has a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tui.dashboards import LATER, dashboard, opened, panel, trained
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Static

from gputrain.engine.events import HintsChanged, LogLine
from gputrain.engine.events.commands import CheckpointCommand, ProfileCommand, StacksCommand
from gputrain.tui.layout.key_bindings import KEYS, Key
from gputrain.tui.screens.dashboard.quit_dialog import QuitScreen
from gputrain.tui.screens.dashboard.search_line import SearchScreen
from gputrain.tui.screens.dashboard.why_screen import WhyScreen
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.widgets.panel import Panel


@pytest.mark.parametrize("key", ["question_mark", "f1", "h"])
async def test_help_explains_and_closes(key: str) -> None:
    async with opened(trained()) as pilot:
        await pilot.press(key)
        screen = pilot.app.screen
        assert isinstance(screen, HelpScreen)
        shown = screen.query_one(Static).visual
        assert "NVML utilization.gpu" in str(shown)
        await pilot.press("escape")
        assert pilot.app.screen is dashboard(pilot)


async def test_space_holds_the_view_and_lets_it_go() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("space")
        assert "view paused" in panel(pilot, "status")
        source.feed(LogLine(text="while it was held"))
        await until(pilot, lambda: dashboard(pilot)._newest.now.journal[-1].text == "while it was held")
        assert "while it was held" not in panel(pilot, "log")
        await pilot.press("space")
        assert "while it was held" in panel(pilot, "log")
        assert "view paused" not in panel(pilot, "status")


async def test_tab_goes_from_panel_to_panel_and_f_fills_the_screen() -> None:
    async with opened(trained()) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: "▸Pipeline" in panel(pilot, "pipeline"))
        await pilot.press("tab")
        await until(pilot, lambda: "▸Hints" in panel(pilot, "hints"))
        assert "▸" not in panel(pilot, "pipeline").splitlines()[0]
        await pilot.press("f")
        await until(pilot, lambda: panel(pilot, "pipeline") == "")
        assert len(panel(pilot, "hints").splitlines()) == 33
        await pilot.press("escape")
        await until(pilot, lambda: "▸" not in panel(pilot, "pipeline") and panel(pilot, "pipeline") != "")
        await pilot.press("enter")
        await until(pilot, lambda: panel(pilot, "pipeline") == "")


async def test_f_without_a_panel_says_how_to_choose_one() -> None:
    async with opened(trained()) as pilot:
        await pilot.press("f")
        await until(pilot, lambda: bool(pilot.app._notifications))
        assert panel(pilot, "pipeline") != ""


async def test_plus_and_minus_zoom_the_charts() -> None:
    async with opened(trained()) as pilot:
        assert "last" not in panel(pilot, "throughput")
        await pilot.press("plus")
        assert "last hour" in panel(pilot, "throughput")
        await pilot.press("plus", "plus", "plus", "plus", "plus")
        assert "last minute" in panel(pilot, "throughput")
        await pilot.press("minus")
        assert "last 5 min" in panel(pilot, "throughput")


async def test_slash_searches_the_log_and_escape_ends_it() -> None:
    source = trained()
    source.feed(LogLine(text="a needle"))
    async with opened(source) as pilot:
        await pilot.press("slash")
        assert isinstance(pilot.app.screen, SearchScreen)
        await pilot.press(*"needle", "enter")
        await until(pilot, lambda: "/needle: 1 of" in panel(pilot, "log"))
        assert "trainer prints" not in panel(pilot, "log")
        await pilot.press("escape")
        await until(pilot, lambda: "needle:" not in panel(pilot, "log"))


async def test_a_search_that_is_broken_off_changes_nothing() -> None:
    async with opened(trained()) as pilot:
        await pilot.press("slash", *"abc", "escape")
        assert dashboard(pilot).view.search == ""


async def test_the_palette_has_the_keys_by_name() -> None:
    async with opened(trained()) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "CommandPalette")
        names = {command.title for command in pilot.app.get_system_commands(dashboard(pilot))}
        assert {"Quit", "Stop", "Checkpoint", "Detach", "Help", "Theme"} <= names


EFFECTS: dict[str, tuple[str, Callable[[Pilot[int], ScriptedSource], bool]]] = {
    "q": ("q", lambda pilot, _: isinstance(pilot.app.screen, QuitScreen)),
    "?": ("question_mark", lambda pilot, _: isinstance(pilot.app.screen, HelpScreen)),
    "space": ("space", lambda pilot, _: "view paused" in panel(pilot, "status")),
    "s": ("s", lambda pilot, _: isinstance(pilot.app.screen, QuitScreen)),
    "c": ("c", lambda _, source: any(isinstance(command, CheckpointCommand) for command in source.sent)),
    "a": ("a", lambda pilot, _: any("batch_size=512" in one.message for one in pilot.app._notifications)),
    "k": ("k", lambda _, source: any(isinstance(command, StacksCommand) for command in source.sent)),
    "p": ("p", lambda _, source: any(isinstance(command, ProfileCommand) for command in source.sent)),
    "i": ("i", lambda pilot, _: isinstance(pilot.app.screen, WhyScreen)),
    "d": ("d", lambda _, source: source.closed.is_set()),
    "tab": ("tab", lambda pilot, _: "▸Pipeline" in panel(pilot, "pipeline")),
    "f": ("tab,f", lambda pilot, _: len(panel(pilot, "pipeline").splitlines()) == pilot.app.size.height - 2),
    "+": ("plus", lambda pilot, _: dashboard(pilot).view.zoom == 1),
    "-": ("plus,plus,minus", lambda pilot, _: dashboard(pilot).view.zoom == 1),
    "/": ("slash", lambda pilot, _: isinstance(pilot.app.screen, SearchScreen)),
    "m": ("m", lambda pilot, _: any("trains in one process" in one.message for one in pilot.app._notifications)),
    "e": ("e", lambda *_: len(list(Path.cwd().glob("*-view-*.svg"))) == 1),
    "E": ("E", lambda *_: {path.suffix for path in Path.cwd().glob("*-curves-*")} == {".csv", ".svg"}),
    "^p": ("ctrl+p", lambda pilot, _: isinstance(pilot.app.screen, CommandPalette)),
}
"""What to press for each key of the line at the bottom, and what must follow."""
SMALLEST = EFFECTS | {
    # A panel that was chosen has the whole screen already.
    "f": ("f", lambda pilot, _: any("select a panel first" in one.message for one in pilot.app._notifications)),
}


@pytest.mark.parametrize("size", [(200, 50), (60, 15)], ids=str)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.shown)
async def test_every_key_of_the_footer_works(
    key: Key, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pressed, effect = (SMALLEST if size == (60, 15) else EFFECTS)[key.shown]
    source = trained()
    source.feed(HintsChanged(hints=(LATER,)))
    async with opened(source, size) as pilot:
        assert (f"{key.shown} {key.label}" if size[0] == 200 else f" {key.shown} ") in panel(pilot, "keys") + " "
        assert not effect(pilot, source)
        await pilot.press(*pressed.split(","))
        await until(pilot, lambda: effect(pilot, source))


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24), (60, 15)], ids=str)
async def test_every_panel_is_a_tab_away(size: tuple[int, int]) -> None:
    panels = {
        "pipeline",
        "hints",
        "throughput",
        "loss",
        "metric",
        "gpu",
        "cpu",
        "ram",
        "disk",
        "log",
        "processes",
        "run",
    }
    async with opened(trained(), size) as pilot:
        seen: set[str] = set()
        first = None
        while True:
            await pilot.press("tab")
            focused = pilot.app.focused
            assert isinstance(focused, Panel)
            await until(pilot, lambda: "▸" in focused.text)  # noqa: B023 - called at once
            assert focused.display
            first = first or focused.id
            if focused.id == first and seen:
                break
            seen.add(focused.id or "")
        assert panels <= seen
        await pilot.press("shift+tab", "escape")
        await until(pilot, lambda: panel(pilot, "pipeline") != "" or panel(pilot, "compact") != "")


async def test_a_panel_that_fills_the_screen_hands_that_on() -> None:
    async with opened(trained(), (80, 24)) as pilot:
        await pilot.press("tab", "f", "tab")
        await until(pilot, lambda: len(panel(pilot, "hints").splitlines()) == 22)
        assert panel(pilot, "pipeline") == ""
        await pilot.press("f")
        await until(pilot, lambda: panel(pilot, "pipeline") != "")


async def test_a_window_that_grows_gives_the_panel_its_place() -> None:
    async with opened(trained(), (80, 24)) as pilot:
        await pilot.press("shift+tab")
        await until(pilot, lambda: panel(pilot, "processes") != "")
        assert panel(pilot, "pipeline") == ""
        await pilot.resize_terminal(200, 50)
        await until(pilot, lambda: panel(pilot, "pipeline") != "" and panel(pilot, "processes") != "")


async def test_a_search_and_a_zoom_bring_what_they_change() -> None:
    source = trained()
    source.feed(LogLine(text="a needle"))
    async with opened(source, (60, 15)) as pilot:
        await pilot.press("plus")
        await until(pilot, lambda: "last hour" in panel(pilot, "throughput"))
        await pilot.press("escape", "slash", *"needle", "enter")
        await until(pilot, lambda: "/needle: 1 of" in panel(pilot, "log"))
        await pilot.press("escape")
        await until(pilot, lambda: panel(pilot, "compact") != "")


async def test_a_click_on_the_footer_does_what_the_key_does() -> None:
    async with opened(trained()) as pilot:
        x = panel(pilot, "keys").index("? help")
        await pilot.click("#keys", offset=(x, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))


async def test_a_click_chooses_a_panel_and_a_double_click_fills_the_screen() -> None:
    async with opened(trained()) as pilot:
        await pilot.click("#run", offset=(5, 2))
        await until(pilot, lambda: "▸Run" in panel(pilot, "run"))
        await pilot.click("#run", offset=(5, 2), times=2)
        await until(pilot, lambda: panel(pilot, "pipeline") == "")


async def test_the_log_scrolls_and_follows_again() -> None:
    source = ScriptedSource()
    source.feed(*(LogLine(text=f"line {number}.") for number in range(100)))
    async with opened(source) as pilot:
        await pilot.click("#log", offset=(5, 1))
        assert "line 99." in panel(pilot, "log")
        await pilot.press("home")
        assert "line 0." in panel(pilot, "log")
        source.feed(LogLine(text="newer"))
        await until(pilot, lambda: dashboard(pilot).view.now.journal_count == 101)
        assert "line 0." in panel(pilot, "log")
        await pilot.press("end")
        assert "newer" in panel(pilot, "log")
        await pilot.press("pageup", "up")
        assert "newer" not in panel(pilot, "log")
        await pilot.press("pagedown", "down")
        assert "newer" in panel(pilot, "log")
