"""The dashboard by an injected source: sizes, keys, ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import scripted
from rich.color import Color, ColorType
from scripted import ScriptedSource
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Static

from gputrain.engine import launch, runs
from gputrain.engine.commands import Checkpoint, Stop, Tune
from gputrain.engine.errors import EXIT_FAILED, EXIT_FINISHED, EXIT_KILLED
from gputrain.engine.events import (
    AnyEvent,
    Hint,
    HintsChanged,
    LogLine,
    Outcome,
    Phase,
    PhaseChanged,
    Prediction,
    RunEnded,
    RunStarted,
    Tuned,
)
from gputrain.engine.record import RecordWriter
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.keys import KEYS, Key
from gputrain.tui.screens.dashboard import DashboardScreen
from gputrain.tui.screens.help import HelpScreen
from gputrain.tui.screens.quit import QuitScreen
from gputrain.tui.screens.search import SearchScreen
from gputrain.tui.screens.summary import SummaryScreen
from gputrain.tui.screens.why import WhyScreen
from gputrain.tui.source import RunSource
from gputrain.tui.widgets.panel import Panel

Condition = Callable[[], bool]


async def until(pilot: Pilot[int], condition: Condition) -> None:
    """Let the application work until `condition` holds; the test's own time-out is the limit."""
    while not condition():
        await pilot.pause(0.01)


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
    source: RunSource, size: tuple[int, int] = (120, 35), frugal: bool = False
) -> AsyncIterator[Pilot[int]]:
    app = GpuTrainApp(source, frugal=frugal)
    app._frame_seconds = 0.1  # tests need not wait for eyes
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: dashboard(pilot).view.caught_up)
        await pilot.pause()
        yield pilot


def trained(seconds: int = 25, gpus: int = 1) -> ScriptedSource:
    source = ScriptedSource()
    source.feed_training(seconds, gpus)
    return source


async def test_at_200_by_50_every_panel_is_there() -> None:
    async with opened(trained(), (200, 50)) as pilot:
        expected = {
            "status": "● training",
            "pipeline": "bottleneck: workers",
            "hints": "CPU-bound decoding",
            "throughput": "Throughput",
            "loss": "◆ val 2.800",
            "metric": "Validation accuracy",
            "gpu": "NVIDIA GeForce RTX 3090",
            "cpu": "CPU 16 cores",
            "ram": "/64 GiB",
            "disk": "data on nvme0n1",
            "log": "the trainer prints a line",
            "run": "resnet50, 25.6 M parameters",
            "keys": "palette",
        }
        for name, part in expected.items():
            assert part in panel(pilot, name), name


async def test_at_120_by_35_the_same_panels_are_there() -> None:
    async with opened(trained(), (120, 35)) as pilot:
        for name in ("pipeline", "hints", "throughput", "loss", "metric", "gpu", "cpu", "ram", "disk", "log", "run"):
            assert panel(pilot, name), name


async def test_at_80_by_24_there_is_one_column() -> None:
    async with opened(trained(gpus=8), (80, 24)) as pilot:
        machine = panel(pilot, "machine").splitlines()
        assert [row[2] for row in machine[1:9]] == list("01234567")
        assert "1 1" in panel(pilot, "status")
        assert "img/s" in panel(pilot, "status")
        assert "→ cache=disk" in panel(pilot, "hints")
        assert panel(pilot, "loss") == ""


async def test_at_60_by_15_there_is_what_matters() -> None:
    async with opened(trained(gpus=8), (60, 15)) as pilot:
        compact = panel(pilot, "compact")
        for part in ("img/s", "CPU", "→ cache=disk", "7 ━", "bottleneck: workers"):
            assert part in compact


@pytest.mark.parametrize("size", [(59, 15), (60, 14), (40, 10), (20, 3)])
async def test_below_that_it_says_what_it_needs(size: tuple[int, int]) -> None:
    async with opened(trained(), size) as pilot:
        said = panel(pilot, "too_small").replace("\n", " ")
        assert said.startswith(f"terminal too small: needs 60×15, has {size[0]}×{size[1]}")
        assert panel(pilot, "status") == ""


async def test_a_resize_moves_to_the_other_arrangement_and_back() -> None:
    async with opened(trained(), (200, 50)) as pilot:
        for size, shown, hidden in (
            ((60, 15), "compact", "gpu"),
            ((10, 5), "too_small", "compact"),
            ((200, 50), "gpu", "compact"),
        ):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda shown=shown: panel(pilot, shown) != "")  # type: ignore[misc]
            assert panel(pilot, hidden) == ""


async def test_new_events_are_shown_as_they_come() -> None:
    source = ScriptedSource()
    source.feed(scripted.start()[0], PhaseChanged(phase=Phase.IMPORTING))
    async with opened(source) as pilot:
        await until(pilot, lambda: "importing torch" in panel(pilot, "status"))
        source.feed(PhaseChanged(phase=Phase.DRAWING_DATA, done=1020, total=3000, unit="images"))
        await until(pilot, lambda: "34 %" in panel(pilot, "status"))
        assert "1 020/3 000 images" in panel(pilot, "status")


async def test_a_run_that_has_not_written_anything_has_a_dashboard_too() -> None:
    async with opened(ScriptedSource()) as pilot:
        assert "starting" in panel(pilot, "status")


# Keys: one test for each, and one that none is forgotten.


async def test_q_asks_and_enter_detaches() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("q")
        assert isinstance(pilot.app.screen, QuitScreen)
        await pilot.press("enter")
        await until(pilot, source.closed.is_set)
    app = pilot.app
    assert isinstance(app, GpuTrainApp)
    assert app.return_value == EXIT_FINISHED
    assert app.leaving is not None
    assert app.leaving.detached
    assert app.leaving.farewell.endswith(f"come back with: gputrain-tui tail {source.run.id}")
    assert source.sent == []


@pytest.mark.parametrize("key", ["q", "ctrl+c", "f10"])
async def test_leaving_can_be_taken_back(key: str) -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press(key)
        assert len(pilot.app.screen_stack) == 2
        await pilot.press("escape")
        assert pilot.app.screen_stack == [dashboard(pilot)]
        assert source.sent == []


@pytest.mark.parametrize(("downs", "checkpoint"), [(0, True), (1, False)])
async def test_s_asks_how_to_stop(downs: int, checkpoint: bool) -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("s", *["down"] * downs, "enter")
        await until(pilot, lambda: bool(source.sent))
        command = source.sent[0]
        assert isinstance(command, Stop)
        assert command.checkpoint is checkpoint
        assert "pid" in command.sender
        assert pilot.app.screen is dashboard(pilot)


async def test_stopping_can_be_chosen_when_leaving() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("q", "x")
        await until(pilot, lambda: bool(source.sent))
        assert source.sent == [Stop(checkpoint=False, sender=source.sent[0].sender)]


async def test_c_asks_for_a_checkpoint() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: bool(source.sent))
        assert isinstance(source.sent[0], Checkpoint)


LIVE = Hint(
    id="few-workers",
    severity="warning",
    title="Too few data workers",
    evidence="the workers were busy 97 % of the time",
    action="The workers are busy and cores are idle: num_workers=12.",
    changes={"num_workers": 12},
    share=0.27,
    prediction=Prediction(low=1090.0, high=1240.0, limiter="the device"),
    disproof="the same rate with more of them",
    path=("✗ Other programs take the cores: 0 %", "✓ Too few data workers: 97 %"),
)
LATER = Hint(
    id="small-work",
    severity="warning",
    title="The GPU has too little work at a time",
    evidence="GPU utilization 40 %",
    action="Use bigger batches.",
    changes={"batch_size": 512},
)


async def test_a_tries_what_the_first_hint_advises_and_its_fate_is_shown() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LATER, LIVE)))
        await until(pilot, lambda: len(dashboard(pilot)._newest.now.hints) == 2)
        await pilot.press("a")
        await until(pilot, lambda: bool(source.sent))
        (command,) = source.sent
        assert isinstance(command, Tune)
        assert (command.changes, command.promised) == ({"num_workers": 12}, LIVE.prediction)
        source.feed(
            Tuned(verdict="kept", changes={"num_workers": 12}, was={"num_workers": 8}, before=900.0, after=1200.0)
        )
        await until(pilot, lambda: "kept num_workers=12: 900 → 1 200 img/s (+33 %)" in panel(pilot, "hints"))


async def test_a_says_what_is_for_the_next_run() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LATER,)))
        await until(pilot, lambda: dashboard(pilot)._newest.now.hints == (LATER,))
        await pilot.press("a")
        await until(pilot, lambda: any("batch_size=512" in one.message for one in pilot.app._notifications))
        assert source.sent == []


async def test_i_tells_why_and_closes() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LIVE,)))
        await until(pilot, lambda: dashboard(pilot)._newest.now.hints == (LIVE,))
        await pilot.press("i")
        await until(pilot, lambda: isinstance(pilot.app.screen, WhyScreen))
        told = "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        for words in ("97 % of the time", "1 090–1 240 img/s", "num_workers=12", "✗ Other programs", "wrong if"):
            assert words in told
        await pilot.press("i")
        await until(pilot, lambda: pilot.app.screen is dashboard(pilot))


async def test_a_command_that_nobody_takes_is_said() -> None:
    source = trained()
    source.refuse = "it is not [running]"
    async with opened(source) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: bool(pilot.app._notifications))
        assert [note.message for note in pilot.app._notifications] == ["checkpoint was not taken: it is not [running]"]


async def test_d_detaches_at_once() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("d")
        await until(pilot, source.closed.is_set)
    assert pilot.app.return_value == EXIT_FINISHED
    assert source.sent == []


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
    "c": ("c", lambda _, source: any(isinstance(command, Checkpoint) for command in source.sent)),
    "a": ("a", lambda pilot, _: any("batch_size=512" in one.message for one in pilot.app._notifications)),
    "i": ("i", lambda pilot, _: isinstance(pilot.app.screen, WhyScreen)),
    "d": ("d", lambda _, source: source.closed.is_set()),
    "tab": ("tab", lambda pilot, _: "▸Pipeline" in panel(pilot, "pipeline")),
    "f": ("tab,f", lambda pilot, _: bool(panel(pilot, "pipeline")) and not panel(pilot, "loss")),
    "+": ("plus", lambda pilot, _: dashboard(pilot).view.zoom == 1),
    "-": ("plus,plus,minus", lambda pilot, _: dashboard(pilot).view.zoom == 1),
    "/": ("slash", lambda pilot, _: isinstance(pilot.app.screen, SearchScreen)),
    "e": ("e", lambda *_: len(list(Path.cwd().glob("*-view-*.svg"))) == 1),
    "E": ("E", lambda *_: len(list(Path.cwd().glob("*-curves-*.csv"))) == 1),
    "^p": ("ctrl+p", lambda pilot, _: isinstance(pilot.app.screen, CommandPalette)),
}
"""What to press for each key of the line at the bottom, and what must follow."""


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.shown)
async def test_every_key_of_the_footer_works(key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pressed, effect = EFFECTS[key.shown]
    source = trained()
    source.feed(HintsChanged(hints=(LATER,)))
    async with opened(source, (200, 50)) as pilot:
        assert f"{key.shown} {key.label}" in panel(pilot, "keys")
        assert not effect(pilot, source)
        await pilot.press(*pressed.split(","))
        await until(pilot, lambda: effect(pilot, source))


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


# Ends.


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome.FINISHED, EXIT_FINISHED), (Outcome.FAILED, EXIT_FAILED), (Outcome.KILLED, EXIT_KILLED)],
)
async def test_the_end_brings_the_summary_which_stays_until_q(outcome: Outcome, code: int) -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(RunEnded(outcome=outcome, reason="out [of] memory", step=500))
        await until(pilot, lambda: "out [of] memory" in summary_text(pilot))
        for part in (outcome.value, "img/s mean", str(source.run.directory)):
            assert part in summary_text(pilot)
        await pilot.press("escape")
        assert pilot.app.screen is dashboard(pilot)
        assert outcome.value in panel(pilot, "status")
        await pilot.press("q")
        await until(pilot, source.closed.is_set)
    assert pilot.app.return_value == code


async def test_a_supervisor_that_is_gone_is_said_and_can_be_left() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.abandoned = True
        await until(pilot, lambda: "supervisor is gone" in panel(pilot, "status"))
        assert "newest checkpoint" in panel(pilot, "hints")
        await pilot.press("q")
        await until(pilot, source.closed.is_set)
    app = pilot.app
    assert isinstance(app, GpuTrainApp)
    assert app.return_value == EXIT_KILLED
    assert app.leaving is not None
    assert "gone without a word" in app.leaving.farewell


async def test_a_record_that_cannot_be_read_is_said() -> None:
    class Broken(ScriptedSource):
        def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
            raise OSError("Input/output error")

    app = GpuTrainApp(Broken())
    async with app.run_test(size=(120, 35)) as pilot:
        await until(pilot, lambda: "Input/output error" in dashboard(pilot).view.error)
        assert "cannot be read" in panel(pilot, "status")


async def test_a_real_run_directory_is_shown_from_its_record() -> None:
    run = runs.create("shown")
    writer = RecordWriter(run.events)
    for event in [*scripted.start(), *(event for event, _ in scripted.training(3)), scripted.finished()]:
        writer.append(event)
    writer.close()
    async with opened(launch.attach(run)) as pilot:
        await until(pilot, lambda: isinstance(pilot.app.screen, SummaryScreen))
        assert "■ finished" in panel(pilot, "status")


# Hostile text and poor terminals.

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]name[/] [@click=app.exit]x[/] 日本"


async def test_hostile_text_is_shown_harmlessly() -> None:
    source = ScriptedSource()
    source.feed(
        RunStarted(run_id=HOSTILE, settings={**scripted.SETTINGS, "name": HOSTILE}),
        PhaseChanged(phase=Phase.SCANNING_DATA, detail=HOSTILE),
        LogLine(text=HOSTILE),
        HintsChanged(hints=(Hint(id="x", severity="warning", title=HOSTILE, evidence=HOSTILE, action=HOSTILE),)),
    )
    async with opened(source, (200, 50)) as pilot:
        for name in ("status", "log", "hints", "run"):
            shown = panel(pilot, name)
            assert "\x1b" not in shown, name
        assert "[bold red]name[/]" in panel(pilot, "log")
        assert "[bold red]name[/]" in panel(pilot, "hints")
        assert "日本" in panel(pilot, "log")
        source.feed(RunEnded(outcome=Outcome.FAILED, reason=HOSTILE, error=HOSTILE))
        await until(pilot, lambda: "[bold red]name[/]" in summary_text(pilot))
        assert "\x1b" not in summary_text(pilot)


def colours(pilot: Pilot[int]) -> set[Color]:
    """All that the screen is painted with."""
    return {
        colour
        for strip in pilot.app.screen._compositor.render_strips()
        for segment in strip
        if segment.style
        for colour in (segment.style.color, segment.style.bgcolor)
        if colour is not None
    }


async def test_no_color_sends_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(trained()) as pilot:
        assert {colour.name for colour in colours(pilot)} <= {"default"}
        assert "bottleneck: workers" in panel(pilot, "pipeline")


async def test_over_a_slow_line_the_terminal_s_own_colours_do() -> None:
    async with opened(trained()) as pilot:
        assert any(colour.type is ColorType.TRUECOLOR for colour in colours(pilot))
    async with opened(trained(), frugal=True) as pilot:
        assert all(colour.type is not ColorType.TRUECOLOR for colour in colours(pilot))
        assert "bottleneck: workers" in panel(pilot, "pipeline")


async def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.ISO-8859-1")
    async with opened(trained(), (200, 50)) as pilot:
        for key in ("", "question_mark"):
            if key:
                await pilot.press(key)
                await pilot.pause()
            strips = pilot.app.screen._compositor.render_strips()
            assert all(strip.text.isascii() for strip in strips[:-1])


@pytest.mark.parametrize("theme", ["gputrain-day", "gputrain-terminal", "nord", "textual-light", "ansi-dark"])
async def test_other_themes_can_be_chosen(theme: str) -> None:
    async with opened(trained()) as pilot:
        before = pilot.app.export_screenshot()
        pilot.app.theme = theme
        await pilot.pause()
        assert pilot.app.export_screenshot() != before
        assert "training" in panel(pilot, "status")


def test_the_scripted_source_is_a_run_source(tmp_path: Path) -> None:
    sources: list[RunSource] = [ScriptedSource(), launch.attach(runs.RunDir(tmp_path))]
    assert all(hasattr(source, "send") for source in sources)
