"""``gputrain-tui compare``: from two records to what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.tui.scripted import whole_run

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.events import AnyEvent, ModelReady, RunStarted, Steps
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_marks import write_marks
from gputrain.tui.actions import compare_runs
from gputrain.tui.cli.main import main


def recorded(label: str, told: list[AnyEvent], **changes: object) -> RunDir:
    run = run_directory.create(label)
    write_config(run.config, settings.build(changes), {})
    run.events.write_bytes(b"".join(events.encode(event) + b"\n" for event in told))
    return run


@pytest.fixture
def pair(private_homes: Path) -> tuple[RunDir, RunDir]:
    first = recorded("one", whole_run(40), lr=0.1, batch_size=64)
    second = recorded("two", whole_run(20), lr=0.2, batch_size=64)
    write_marks(second, name="high lr")
    return first, second


def test_what_differs_is_shown(pair: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one", "two"]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["lr", "0.1", "0.2"] in lines
    assert not any(line and line[0] == "batch_size" for line in lines)
    assert "high lr" in shown
    assert any(line.startswith("bottleneck") for line in shown.splitlines())
    drawn = shown[shown.index("loss by step") :].partition("\n\n")[0].splitlines()
    assert drawn[1].startswith("a ")
    assert drawn[2].startswith("b high lr")
    # The shorter run's letter stands at its end, in the middle of the longer one's curve.
    assert sum("b" in line.partition("│")[2] for line in drawn[3:]) >= 1
    table = shown.rpartition("\n\n")[2].splitlines()
    assert len(table) == 11
    # The shorter run has no figures beyond its end.
    assert len(table[1].split()) == 3
    assert len(table[-1].split()) == 2


def test_the_curves_are_those_of_the_record(pair: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one", "two", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"] == {"lr": [0.1, 0.2]}
    curve = told["runs"][0]["curves"]["loss"]
    steps = [event for event in whole_run(40) if isinstance(event, Steps) and event.loss is not None]
    assert curve["step"] == [event.step for event in steps]
    assert curve["value"] == [event.loss for event in steps]
    assert curve["images"] == [event.images for event in steps]
    assert curve["seconds"] == sorted(curve["seconds"])


def test_steps_that_were_done_again_count_once(private_homes: Path) -> None:
    first = whole_run(20)
    (model,) = [event for event in first if isinstance(event, ModelReady)]
    last = max(event.step for event in first if isinstance(event, Steps))
    again: list[AnyEvent] = [
        event for event in first if isinstance(event, RunStarted) or (isinstance(event, Steps) and event.step > 50)
    ]
    restart = [ModelReady(**{f: getattr(model, f) for f in model.__struct_fields__} | {"start_step": 50})]
    look = compare_runs.read_compared(recorded("twice", [*first, again[0], *restart, *again[1:]]))
    steps = [point.step for point in look.curves["loss"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == last
    # The pause between the two parts is no time of the run.
    assert look.curves["loss"][-1].seconds < 60


def test_long_curves_are_thinned(private_homes: Path) -> None:
    look = compare_runs.read_compared(recorded("long", whole_run(200)))
    assert len(look.curves["loss"]) < 2 * compare_runs.POINTS
    values = [event.loss for event in whole_run(200) if isinstance(event, Steps) and event.loss is not None]
    assert len(values) > 2 * compare_runs.POINTS
    thinned = [point.value for point in look.curves["loss"]]
    assert min(values) <= min(thinned) <= max(thinned) <= max(values)


def test_mistakes_are_named(pair: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "one", "one"]) == 2
    assert "needs two runs" in capsys.readouterr().err
    assert main(["compare", "one", "two", "--metric", "los"]) == 2
    assert "did you mean 'loss'?" in capsys.readouterr().err
