"""The ladder over the launcher, with speeds of the test's making."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from helpers.tui.bench_speeds import speed
from helpers.tui.launching import SERVER, Starts, launcher, opened, press, shown
from helpers.tui.piloting import until

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.jobs.bench_job import Speed
from gputrain.engine.processes.child_job import Started, Tell
from gputrain.profiles.schema import ReferenceLadder
from gputrain.tui.actions import run_ablation
from gputrain.tui.render.bench_table import Bench, Row
from gputrain.tui.render.styled_lines import width
from gputrain.tui.screens.launcher.bench_dialog import BenchScreen, bench_lines


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path)


async def test_each_rung_is_drawn_when_it_is_measured(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, asked = threading.Event(), list[RunConfig]()

    def measure(config: RunConfig, tell: Tell, _steps: int, started: Started) -> Speed:
        started(lambda: None)
        asked.append(config)
        if len(asked) == 3:
            tell("warming up")
            go_on.wait(30)
        return speed(100.0 * len(asked))

    monkeypatch.setattr(run_ablation, "measure_speed", measure)
    monkeypatch.setattr(run_ablation, "ROUNDS", 1)
    async with opened(starts, SERVER) as pilot:
        await press(pilot, "b")
        assert isinstance(pilot.app.screen, BenchScreen)
        await until(pilot, lambda: "+ mixed precision: warming up" in shown(pilot))
        rows = shown(pilot).splitlines()
        assert any("+ workers" in row and "2.00 ×" in row and "█" * 20 in row for row in rows)
        go_on.set()
        await until(pilot, lambda: "all: " in shown(pilot))
        assert "the plan" in shown(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is launcher(pilot))
    assert not starts.asked


async def test_closing_ends_the_measuring_and_no_other_rung_begins(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, asked = threading.Event(), list[RunConfig]()

    def measure(config: RunConfig, tell: Tell, _steps: int, started: Started) -> Speed:
        asked.append(config)
        started(ended.set)
        ended.wait(30)
        raise RuntimeError("stopped by SIGTERM")

    monkeypatch.setattr(run_ablation, "measure_speed", measure)
    async with opened(starts, SERVER) as pilot:
        await press(pilot, "b")
        await until(pilot, lambda: bool(asked))
        await press(pilot, "escape")
        await until(pilot, ended.is_set)
        assert pilot.app.screen is launcher(pilot)
        await until(pilot, lambda: not any(thread.name == "bench" for thread in threading.enumerate()))
    assert len(asked) == 1


@pytest.mark.parametrize("columns", [40, 60, 80, 130, 200])
def test_columns_give_way_to_the_bars(columns: int) -> None:
    rows = (
        Row(name="standard", key="standard", settings={}, speed=speed(50.0)),
        Row(name="+ mixed precision", key="mixed precision", settings={}, speed=speed(100.0)),
        Row(name="+ TF32", key="TF32", settings={}, speed=None, error="skipped: needs a GPU " + "and more " * 20),
    )
    seed = ReferenceLadder(source="somebody", gains={"workers": 1.5}, speed_up=4.0)
    bench = Bench(
        recipe="demo",
        machine="a machine",
        device="a device",
        usable_cores=2.0,
        batch_size=64,
        image_size=80,
        steps=40,
        rounds=2,
        rows=rows,
        references={"rtx-3090-24gb": seed},
    )
    lines = bench_lines(bench, columns)
    assert max(width(line) for line in lines) <= columns
    text = ["".join(part for part, _ in line) for line in lines]
    assert any("+ mixed precision" in row and "100" in row and "2.00 ×" in row for row in text)
    assert any("rtx-3090-24gb" in row for row in text) == (columns >= 130)
    bars = [row.count("█") for row in text if "█" in row]
    assert bars[1] == 2 * bars[0] == {40: 4, 60: 24}.get(columns, 24)
