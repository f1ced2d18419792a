"""Runs of a user's own script in compare, runs, export and the runs screen's actions, beside runs of ours."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.scripts.made_events import LOADER, STEPS, started
from helpers.scripts.watched import EXEC, TIMEOUT, run, script
from helpers.tui.scripted import whole_run
from msgspec.structs import replace

from gputrain.engine import events
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import Unit
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.events import AnyEvent, HardwareSample, LoaderStats, Scalars
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.runs.status_file import StatusFile
from gputrain.engine.user_script.script_command import ScriptCommand, read_command, write_command
from gputrain.tui.actions import run_actions, run_list
from gputrain.tui.actions.run_list import Row
from gputrain.tui.cli.main import main
from gputrain.tui.screens.launcher.attach_dialog import run_text


def recorded(label: str, output: list[AnyEvent]) -> RunDir:
    run = run_directory.create(label)
    write_config(run.config, settings.build({"name": label}), {})
    run.events.write_bytes(b"".join(events.encode(event) + b"\n" for event in output))
    return run


def of_script(unit: Unit, workers: int) -> list[AnyEvent]:
    steps = [
        replace(STEPS, mono=11.0 + at, step=10 * at, images=160 * at, loss=1.0 / at, unit=unit) for at in range(1, 9)
    ]
    logged = [
        Scalars(mono=15.5, source="wandb", values={"val/f1": 0.25}),
        Scalars(mono=18.0, source="wandb", values={"val/f1": 0.5}),
    ]
    found = [*started(replace(LOADER, num_workers=workers)), *steps, *logged]
    return [replace(event, seq=number) for number, event in enumerate(sorted(found, key=lambda one: one.mono), 1)]


def test_scripts_are_compared_by_what_was_seen_of_them(private_homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded("one", of_script("samples", 0))
    recorded("two", of_script("samples", 4))
    assert main(["compare", "one", "two", "--metric", "val/f1", "--over", "images"]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["num_workers", "0", "4"] in lines
    # The settings of our own trainer mean nothing here: none of them differs.
    assert not any(line[:1] in (["lr"], ["recipe"], ["command"]) for line in lines)
    assert ["throughput", "160", "samples/s", "160", "samples/s"] in lines
    assert "cannot be compared" not in shown
    assert "val/f1 by samples" in shown
    assert shown.rstrip().splitlines()[-1].split() == ["1", "120", "0.5000", "0.5000"]


def test_other_units_are_named_and_not_compared(private_homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded("ours", list(whole_run(20)))
    recorded("tokens", of_script("tokens", 0))
    assert main(["compare", "ours", "tokens", "--over", "images"]) == 0
    shown = capsys.readouterr().out
    assert "The throughputs count different things (images, tokens): they cannot be compared." in shown
    assert "loss by images or tokens" in shown
    assert " img/s" in shown
    assert "160 tokens/s" in shown


def test_a_script_that_is_started_again_begins_its_curves_anew(private_homes: Path) -> None:
    again = [replace(event, mono=event.mono + 100, seq=event.seq + 100) for event in of_script("samples", 0)]
    run = recorded("one", [*of_script("samples", 0), *again])
    (compared,) = run_actions.compare([run])
    assert [point.step for point in compared.curves["loss"]] == [10 * at for at in range(1, 9)]


def status_of(run: RunDir, *output: AnyEvent) -> Row:
    status = StatusFile(run, settings.build({}), "")
    for event in output:
        status.learn(event)
    status.write()
    assert run.status() is not None
    return Row(run_directory.RunInfo(run, run.written_status()), read_marks(run))


def test_lists_show_the_unit_and_no_epochs_that_nobody_set(private_homes: Path) -> None:
    run = run_directory.create("mine")
    write_command(run, ScriptCommand(argv=("true",), cwd="/"))
    row = status_of(run, *started(), replace(STEPS, epoch=2, unit="tokens"))
    cells = dict(zip(run_list.HEADER, run_list.cells(row), strict=True))
    assert (cells["state"], cells["epoch"], cells["step"], cells["speed"]) == ("running", "3", "500", "160 tokens/s")
    assert "160 tokens/s" in run_text(row.info, time.time())
    # Without a DataLoader the epoch is unknown; a script runs from its start on, with or without steps.
    row = status_of(run, *started(None), replace(STEPS, wait_unknown=True, unit="steps"))
    assert dict(zip(run_list.HEADER, run_list.cells(row), strict=True))["epoch"] == ""
    row = status_of(run, events.PhaseChanged(phase=events.Phase.STARTING))
    assert row.info.status is not None
    assert row.info.status.state is State.RUNNING
    ours = run_directory.create("ours")
    row = status_of(ours, *whole_run(20))
    cells = dict(zip(run_list.HEADER, run_list.cells(row), strict=True))
    assert "/" in cells["epoch"]
    assert cells["speed"].endswith(" img/s")


def window(unit: Unit, rate: float, given: float | None) -> EventWindow:
    found = EventWindow(warm_up=0.0)
    for event in started():
        found.feed(event)
    for second in range(30):
        at = 12.0 + second
        steps = replace(STEPS, mono=at, images_per_second=rate, unit=unit, loader_samples=given, window_steps=10)
        found.feed(steps)
        found.feed(
            LoaderStats(mono=at, workers=2, kind="processes", seconds=1.0, samples=160, busy=0.9, cpu_ratio=0.9,
                        run_delay=0.0, read_share=0.0, bytes_read=0, disk_bytes=0)
        )  # fmt: skip
        found.feed(HardwareSample(mono=at, interval=1.0, usable_cores=8.0, cpu_percent=20.0))
    return found


@pytest.mark.parametrize(
    ("unit", "rate", "given", "expected"),
    [
        ("samples", 160.0, None, 160.0),
        # 64 tokens a sample.
        ("tokens", 10240.0, 160.0, 10240.0),
        # How many samples a step had is not known: no rate of the workers in steps.
        ("steps", 10.0, 0.0, None),
    ],
)
def test_the_workers_rate_is_in_the_unit_of_the_steps(
    unit: Unit, rate: float, given: float | None, expected: float | None
) -> None:
    signals = window(unit, rate, given).signals()
    assert signals is not None
    assert (signals.unit, signals.sample_rate) == (unit, expected and pytest.approx(expected))


def ended(run: RunDir) -> None:
    deadline = time.monotonic() + TIMEOUT
    while (status := run.status()) is None or not status.state.over or run.is_live():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("work", "runs"), [(run_actions.resume, 1), (run_actions.clone, 2)])
def test_the_runs_screen_starts_a_command_again(work: Callable[[RunDir, str], str], runs: int, tmp_path: Path) -> None:
    file = tmp_path / "count"
    command = ScriptCommand(argv=("sh", "-c", f"printf x >> '{file}'"), cwd=str(tmp_path), inject=False)
    first = launch_script(command, "mine", autotune=True)
    ended(first)
    assert run_actions.command_of(first) == f"sh -c 'printf x >> '\"'\"'{file}'\"'\"''"
    with pytest.raises(BadInput, match="has no settings to change"):
        work(first, "lr=0.1")
    work(first, "")
    newest = run_directory.find("last")
    ended(newest)
    assert file.read_text() == "xx"
    assert len(run_directory.list_runs()) == runs
    assert read_command(newest) == command
    assert "autotune: true" in newest.config.read_text()
    assert newest.id.endswith("mine") or newest.id.endswith("mine-2")


_LOOP = """
import time, torch
from torch.utils.data import DataLoader
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-6)
batches = {batches}
for number, x in enumerate(batches):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
    time.sleep(0.1)
"""
_LOADER = "DataLoader(torch.ones(60, 1), batch_size=4)"
_PLAIN = "[torch.ones(4, 1)] * 15"


@pytest.mark.long
@pytest.mark.parametrize(
    ("batches", "options", "unit", "of_step", "given"),
    [
        (_LOADER, [], "samples", 4, False),
        (_PLAIN, [], "steps", 1, True),
        (_LOADER, ["--tokens-per-step", "100"], "tokens", 100, True),
        (_PLAIN, ["--images-per-step", "4"], "images", 4, True),
    ],
)
def test_the_record_of_a_real_script_knows_what_it_counts(
    batches: str, options: list[str], unit: Unit, of_step: int, given: bool, tmp_path: Path
) -> None:
    path = script(tmp_path, _LOOP.format(batches=batches))
    done = run([*EXEC, "--json", *options, "--", sys.executable, str(path)])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [line for line in lines if line["type"] == "steps"]
    assert {line.get("unit", "images") for line in steps} == {unit}
    assert steps[-1]["images"] == steps[-1]["step"] * of_step
    assert all(("loader_samples" in line) == given for line in steps)
    assert (lines[-1]["unit"], lines[-1]["wait_unknown"]) == (unit, batches == _PLAIN)
    status = run_directory.find("last").status()
    assert status is not None
    assert (status.unit, status.epochs, status.epoch) == (unit, 0, -1 if batches == _PLAIN else 0)
