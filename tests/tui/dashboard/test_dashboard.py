"""The dashboard by an injected source: sizes, ends, hostile text and poor terminals."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tui import scripted
from helpers.tui.dashboards import dashboard, opened, panel, summary_text, trained
from helpers.tui.piloting import until
from helpers.tui.scriptedsource import ScriptedSource
from rich.color import Color, ColorType
from textual.pilot import Pilot

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, EXIT_KILLED
from gputrain.engine.events import (
    AnyEvent,
    Hint,
    HintsChanged,
    LogLine,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    RunStarted,
)
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard.summary import SummaryScreen
from gputrain.tui.state.event_source import RunSource


async def test_at_200_by_50_every_panel_is_there() -> None:
    async with opened(trained(), (200, 50)) as pilot:
        expected = {
            "status": "● training",
            "pipeline": "bottleneck: workers",
            "hints": "Too few data workers",
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
        assert "num_workers=11" in panel(pilot, "hints")
        assert panel(pilot, "loss") == ""


async def test_at_60_by_15_there_is_what_matters() -> None:
    async with opened(trained(gpus=8), (60, 15)) as pilot:
        compact = panel(pilot, "compact")
        for part in ("img/s", "CPU", "num_workers=11", "7 ━", "bottleneck: workers"):
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
        await until(pilot, lambda: "supervisor of the run died" in panel(pilot, "status"))
        assert "newest checkpoint" in panel(pilot, "hints")
        await pilot.press("q")
        await until(pilot, source.closed.is_set)
    app = pilot.app
    assert isinstance(app, GpuTrainApp)
    assert app.return_value == EXIT_KILLED
    assert app.quit_result is not None
    assert "died without recording an end" in app.quit_result.exit_message


async def test_a_record_that_cannot_be_read_is_said() -> None:
    class Broken(ScriptedSource):
        def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
            raise OSError("Input/output error")

    app = GpuTrainApp(Broken())
    async with app.run_test(size=(120, 35)) as pilot:
        await until(pilot, lambda: "Input/output error" in dashboard(pilot).view.error)
        assert "cannot be read" in panel(pilot, "status")


async def test_a_real_run_directory_is_shown_from_its_record() -> None:
    run = run_directory.create("shown")
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
    async with opened(trained(), low_bandwidth=True) as pilot:
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
    sources: list[RunSource] = [ScriptedSource(), launch.attach(run_directory.RunDir(tmp_path))]
    assert all(hasattr(source, "send") for source in sources)
