"""Diagnosis of a whole record: windows that share no event, rare causes left out, the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import pytest
from helpers.diagnosis.made_events import second, started

from gputrain.engine.diagnosis.recorded_run_review import review
from gputrain.engine.events import AnyEvent, Outcome, Phase, PhaseChanged, RunEnded
from gputrain.tui.commands.runs.diagnose import verdict_lines


def events(waits: dict[range, float], *more: AnyEvent) -> Iterator[AnyEvent]:
    yield from started()
    for seconds, wait in waits.items():
        for at in seconds:
            yield from second(float(at), wait=wait, utilization=97.0 if wait < 0.1 else 50.0)
    yield from more


def test_cause_in_all_windows_is_reported() -> None:
    found = review(events({range(11, 60): 0.4}, PhaseChanged(mono=60.0, phase=Phase.ENDED)))
    assert (found.run_id, found.ended, found.windows) == ("r", True, 5)
    assert [(one.hint.id, one.windows) for one in found.findings] == [("few-workers", 5)]


def test_rare_cause_is_reported_only_while_the_run_goes_on() -> None:
    waits = {range(11, 150): 0.01, range(150, 165): 0.4}
    over = review(events(waits, PhaseChanged(mono=165.0, phase=Phase.ENDED)))
    assert [one.hint.id for one in over.findings] == ["compute-bound"]
    running = review(events(waits))
    assert [one.hint.id for one in running.findings] == ["few-workers", "compute-bound"]
    assert not running.ended


def test_run_whose_supervisor_is_gone_has_ended() -> None:
    waits = {range(11, 150): 0.01, range(150, 165): 0.4}
    killed = review(events(waits), alive=lambda: False)
    assert killed.ended
    assert [one.hint.id for one in killed.findings] == ["compute-bound"]


def test_resumed_run_goes_on() -> None:
    died = RunEnded(outcome=Outcome.FAILED, reason="no memory", died_of="gpu")
    first = [*events({range(11, 20): 0.4}, PhaseChanged(mono=20.0, phase=Phase.ENDED), died)]
    resumed = review([*first, *events({range(11, 60): 0.01})])
    assert not resumed.ended
    assert "out-of-memory" not in [one.hint.id for one in resumed.findings]
    assert resumed.signals is not None
    assert resumed.signals.wait == pytest.approx(0.01)


def test_a_stop_does_not_hide_the_last_window() -> None:
    stopped = (PhaseChanged(mono=20.0, phase=Phase.STOPPING), PhaseChanged(mono=20.5, phase=Phase.ENDED))
    found = review(events({range(11, 20): 0.4}, *stopped))
    assert found.ended
    assert [one.hint.id for one in found.findings] == ["few-workers"]


def test_short_run_has_no_diagnosis() -> None:
    found = review(events({range(11, 16): 0.4}))
    assert (found.windows, found.findings, found.signals) == (0, (), None)
    assert review([]).windows == 0


def test_json_has_hint_windows_and_signals() -> None:
    shown = json.loads(json.dumps(review(events({range(11, 60): 0.4})).as_json()))
    (finding,) = shown["findings"]
    assert finding["id"] == "few-workers"
    assert finding["windows"] == 5
    assert finding["prediction"]["high"] > 0
    assert shown["signals"]["wait"] == pytest.approx(0.4)
    assert shown["signals"]["sm_activity"] is None


@pytest.mark.parametrize(("of", "setting"), [("ram", "num_workers"), ("gpu", "gradient_checkpointing")])
def test_out_of_memory_end_comes_first(of: Literal["ram", "gpu"], setting: str) -> None:
    died = RunEnded(mono=60.0, outcome=Outcome.KILLED, reason="the kernel's {OOM} killer", died_of=of)
    found = review(events({range(11, 60): 0.4}, PhaseChanged(mono=60.0, phase=Phase.ENDED), died))
    assert [one.hint.id for one in found.findings] == ["out-of-memory", "few-workers"]
    assert setting in found.findings[0].hint.changes
    assert "OOM" in found.findings[0].hint.evidence
    at_once = review([*started(), died])
    assert [one.hint.id for one in at_once.findings] == ["out-of-memory"]
    (line, _, shown, *_) = verdict_lines(at_once, why=False)
    assert "too short" in line
    assert shown.endswith("(at its end)")
