"""``gputrain-tui diagnose`` on records: what it prints, in words and as JSON, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from gputrain.engine.diagnosis.review import Review
from gputrain.engine.events import (
    AnyEvent,
    HardwareSample,
    LoaderStats,
    ModelReady,
    Phase,
    PhaseChanged,
    RunStarted,
    Steps,
    Tuned,
    encode,
    stamp,
)
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.cli import main
from gputrain.tui.commands.runs.diagnose import verdict_lines


def recorded(events: Sequence[tuple[float, AnyEvent]]) -> RunDir:
    run = run_directory.create("starved")
    lines = [encode(stamp(event, seq, at, at)) for seq, (at, event) in enumerate(events, 1)]
    run.events.write_bytes(b"\n".join(lines) + b"\n")
    return run


def one_second(at: float) -> list[tuple[float, AnyEvent]]:
    """A second in which a GPU waited for two workers 40 % of the time."""
    steps = Steps(
        step=int(at),
        epoch=0,
        epoch_step=int(at),
        images=1,
        window_steps=10,
        window_seconds=1.0,
        images_per_second=1000.0,
        loss=1.0,
        lr=0.1,
        data_wait=0.4,
        copy=0.0,
        compute=0.6,
        other=0.0,
    )
    workers = LoaderStats(
        workers=2,
        kind="threads",
        seconds=1.0,
        samples=1000,
        busy=0.99,
        cpu_ratio=0.9,
        run_delay=0.0,
        read_share=0.0,
        bytes_read=0,
        disk_bytes=0,
    )
    machine = HardwareSample(interval=1.0, cpu_percent=15.0, usable_cores=16.0, run_cpu=2.0, foreign_cpu=0.0)
    return [(at, steps), (at, workers), (at, machine)]


@pytest.fixture
def starved() -> RunDir:
    ready = ModelReady(
        model="m",
        parameters=1,
        device="cuda:0",
        device_name="d",
        precision="bf16",
        channels_last=True,
        compiled=False,
        optimizer="sgd",
        total_steps=1,
        total_updates=1,
    )
    start: list[tuple[float, AnyEvent]] = [
        (1.0, RunStarted(run_id="starved", settings={"num_workers": 2, "batch_size": 100}, usable_cores=16.0)),
        (2.0, ready),
        (3.0, PhaseChanged(phase=Phase.TRAINING)),
    ]
    steps = [event for second in range(4, 40) for event in one_second(float(second))]
    return recorded([*start, *steps, (40.0, PhaseChanged(phase=Phase.ENDED))])


def test_the_verdict_in_words(starved: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["diagnose", str(starved.directory)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("starved: over, ")
    assert "▲ critical: Too few data workers" in told
    assert "→ Use more workers, as cores are idle: num_workers=4." in told
    assert "settings: num_workers=4 (in a new run: gputrain-tui clone starved …)" in told
    assert "expected: 1 467–1 667 img/s, then the device limits" in told
    assert "✗" not in told
    assert main.main(["diagnose", str(starved.directory), "--why"]) == 0
    assert "✗ Other programs take the cores" in capsys.readouterr().out


def test_the_verdict_as_json(starved: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["diagnose", "last", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0]["changes"] == {"num_workers": 4}
    assert told["signals"]["busy"] == pytest.approx(0.99)


def test_what_was_tried_in_the_run_is_told(starved: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = Tuned(verdict="kept", changes={"num_workers": 4}, was={"num_workers": 2}, before=1000.0, after=1550.0)
    with starved.events.open("ab") as record:
        record.write(encode(stamp(tuned, 1000, 41.0, 41.0)) + b"\n")
    assert main.main(["diagnose", str(starved.directory)]) == 0
    assert "\nkept num_workers=4: 1 000 → 1 550 img/s (+55 %)\n" in capsys.readouterr().out
    assert main.main(["diagnose", "last", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["tried"]
    assert (told["verdict"], told["was"], told["after"]) == ("kept", {"num_workers": 2}, 1550.0)


def test_a_run_that_is_not_there_is_named(starved: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert starved.events.exists()
    assert main.main(["diagnose", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_a_record_without_a_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_directory.create("hostile")
    run.events.write_bytes(b'\x00\xff{\n{"type":"steps"}\n[]\n\x1b[31m\n')
    assert main.main(["diagnose", str(run.directory)]) == 0
    assert capsys.readouterr().out == "the record contains no start of a run: nothing to judge\n"


def test_too_short_a_run_says_so() -> None:
    (line,) = verdict_lines(Review("r", True, 0, 0.0, (), None), why=False)
    assert "too short to judge" in line
    (_, nothing) = verdict_lines(Review("r", False, 1, 8.0, (), None), why=False)
    assert nothing == "no bottleneck found"
