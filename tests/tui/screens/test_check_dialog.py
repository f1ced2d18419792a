"""The system check and the calibration over the launcher, with checks and measurements of the test's making."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from fakes.calibrations import MADE
from helpers.tui.launching import BENCH, SERVER, Starts, launcher, opened, plan_text, press, settled, shown
from helpers.tui.piloting import until
from textual.pilot import Pilot

from gputrain.engine.check import findings
from gputrain.engine.check.host_check import read_host
from gputrain.engine.check.system_check import CheckResult, Tell
from gputrain.engine.common import past_durations
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import Calibration, signature
from gputrain.engine.processes.child_job import Started
from gputrain.tui.actions import launcher_choices
from gputrain.tui.actions.check_lines import end_lines, finding_lines
from gputrain.tui.actions.run_check import Checked
from gputrain.tui.render.styled_lines import width
from gputrain.tui.screens.launcher.calibrate_dialog import CalibrateScreen
from gputrain.tui.screens.launcher.check_dialog import CheckScreen

FINDINGS = [
    findings.Line("software", "driver", "NVIDIA 580.95, supports CUDA 13.0"),
    findings.Line("software", "torch", "built for the CPU only", "problem", ("pip install torch",)),
    findings.Line("gpu", "GPU 0", "persistence mode is off", "note", ("sudo nvidia-smi -i 0 -pm 1",)),
    findings.Line("disk", "reading", "15 MB/s: slow " + "and long " * 40, "warning"),
]


def outcome(works: bool = False) -> Checked:
    examined = CheckResult(machine=BENCH, gpus=(), host=read_host(), storage=None, speed=None, lines=())
    return Checked(works, {"batch_size": "64"}, tuple(FINDINGS), examined)


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path)


def text_of(lines: list[tuple[tuple[str, str], ...]]) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines)


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_findings_name_each_topic_once_and_stay_within_the_width(columns: int) -> None:
    lines = finding_lines(FINDINGS, columns)
    assert max(width(line) for line in lines) <= columns
    text = text_of(lines)  # type: ignore[arg-type]
    assert text.count("software") == text.count("gpu ") == text.count("disk") == 1
    assert "problem: built for the" in text
    assert "note: persistence mode" in text


def test_the_verdict_has_its_reasons_and_advice_once() -> None:
    twice = msgspec.structs.replace(outcome(), lines=(*FINDINGS, *FINDINGS))
    text = text_of(end_lines(twice, 80))  # type: ignore[arg-type]
    assert text.count("pip install torch") == 1
    assert text.startswith("■ a run does not work on this machine\n  built for the CPU only")
    assert text_of(end_lines(outcome(works=True), 80)).startswith("● a run works on this machine")  # type: ignore[arg-type]


@asynccontextmanager
async def checking(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, check: Callable[..., Checked]
) -> AsyncIterator[Pilot[int]]:
    monkeypatch.setattr(launcher_choices, "check", check)
    async with opened(starts) as pilot:
        await press(pilot, "c")
        yield pilot


async def test_findings_come_one_by_one_and_the_verdict_above_them(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), list[str]()

    def check(machine: object, make_plan: Callable[[], object], *, speed: bool, tell: Tell) -> Checked:
        plan = make_plan()
        asked.append(plan.config.recipe)  # type: ignore[attr-defined]
        tell(FINDINGS[:1])
        go_on.wait(30)
        tell(FINDINGS[1:])
        return outcome()

    async with checking(starts, monkeypatch, check) as pilot:
        assert isinstance(pilot.app.screen, CheckScreen)
        await until(pilot, lambda: "NVIDIA 580.95" in shown(pilot))
        assert "checking; the speed test takes" in shown(pilot)
        assert "would" not in shown(pilot)
        go_on.set()
        await until(pilot, lambda: "a run does not work on this machine" in shown(pilot))
        assert shown(pilot).index("a run does not work on this machine") < shown(pilot).index("NVIDIA 580.95")
        assert "checking;" not in shown(pilot)
        assert asked == ["demo"]
        await press(pilot, "escape")
        assert len(pilot.app.screen_stack) == 1


async def test_a_check_that_fails_says_why(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object, **__: object) -> Checked:
        raise OSError("the disk is gone")

    async with checking(starts, monkeypatch, check) as pilot:
        await until(pilot, lambda: "the disk is gone" in shown(pilot))


async def test_a_calibration_is_in_the_plan_afterwards_and_handed_to_the_run(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def calibrate(config: object, machine: object, *, tell: Callable[[str], None], started: Started) -> Calibration:
        started(lambda: None)
        tell("measuring the step")
        go_on.wait(30)
        return msgspec.structs.replace(
            MADE,
            machine=calibration_store.machine_key(SERVER),
            settings=signature(flatten(config)),  # type: ignore[arg-type]
        )

    monkeypatch.setattr(launcher_choices, "calibrate", calibrate)
    past_durations.remember("calibrate demo  40", 100.0)
    async with opened(starts, SERVER) as pilot:
        assert "img/s" not in plan_text(pilot)
        await press(pilot, "m")
        assert isinstance(pilot.app.screen, CalibrateScreen)
        await until(pilot, lambda: "measuring the step" in shown(pilot))
        assert ", about 1 min" in shown(pilot)
        go_on.set()
        await until(pilot, lambda: "380 img/s with 2 workers" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is launcher(pilot))
        await settled(pilot)
        assert "limited by" in plan_text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: bool(starts.asked))
        assert starts.forecast is not None
        assert starts.forecast.supply > 0


async def test_closing_ends_a_measurement_and_keeps_nothing(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def calibrate(config: object, machine: object, *, tell: object, started: Started) -> Calibration:
        started(ended.set)
        ended.wait(30)
        raise RuntimeError("stopped by SIGTERM")

    monkeypatch.setattr(launcher_choices, "calibrate", calibrate)
    async with opened(starts, SERVER) as pilot:
        await press(pilot, "m")
        await until(pilot, lambda: isinstance(pilot.app.screen, CalibrateScreen))
        await press(pilot, "escape")
        await until(pilot, ended.is_set)
        assert pilot.app.screen is launcher(pilot)
        assert calibration_store.load(SERVER, "demo") == []


async def test_what_cannot_start_is_not_measured(starts: Starts) -> None:
    async with opened(starts, SERVER) as pilot:
        launcher(pilot)._selection.overrides["device"] = "cuda"
        launcher(pilot)._replan()
        await settled(pilot)
        await press(pilot, "m")
        assert pilot.app.screen is launcher(pilot)
